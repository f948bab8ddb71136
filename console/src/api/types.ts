// The shapes of /api/v1 under short names. schema.ts is made from
// api/openapi.json by `npm run api`; nothing is declared twice.

import type { components } from './schema';

type S = components['schemas'];

export type AuditEntry = S['AuditEntry'];
export type Camera = S['Camera'];
export type CameraEdit = S['CameraChange'];
export type NewCamera = S['CameraRequest'];
export type Probe = S['Probe'];
export type ProbeRequest = S['ProbeRequest'];
export type Session = S['Session'];
export type SessionInfo = S['SessionItem'];
export type State = S['Status']['state'];
export type Signer = S['Signer'];
export type Stream = S['Stream'];
export type Quality = Stream['quality'];
export type StreamSecret = S['StreamSecret'];
export type SystemInfo = S['System'];
export type TimelineAnswer = S['Timeline'];
export type TokenInfo = S['Token'];
export type Welcome = S['SetupAnswer'];
