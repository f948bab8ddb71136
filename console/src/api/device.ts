// Cameras as devices: found, enrolled, looked after, steered.

import { api } from './client';
import type { components } from './schema';

type S = components['schemas'];

/** A device that answered a search. */
export type Found = S['FoundCamera'];
export type Discovery = S['DiscoveryResult'];
export type Enrolment = S['Enrolment'];
/** How far one device is. */
export type Enrolled = S['EnrolmentProgress'];
export type Step = S['EnrolmentStep'];
export type StepName = Step['step'];
export type NewDevice = S['EnrolmentDevice'];
export type Device = S['CameraDevice'];
export type Ptz = S['PTZ'];
export type Position = S['PTZPosition'];
export type Command = S['PTZRequest'];
export type Imaging = S['CameraImaging'];
export type ImagingChange = S['ImagingValues'];
export type Mask = S['CameraMask'];
export type Masks = S['CameraMasks'];

export const enrolling = {
  /** find searches the site, and the networks named besides. */
  find: (networks: string[], signal?: AbortSignal) => api.post<Discovery>('/discovery', networks.length ? { networks } : {}, signal),
  begin: (devices: NewDevice[], o: { rotate: boolean; prepare: boolean; group?: string }) => api.post<{ id: string }>('/enrolments', { devices, ...o }),
  look: (id: string) => api.get<Enrolment>(`/enrolments/${id}`),
};

export const device = {
  get: (id: string) => api.get<Device>(`/cameras/${id}/device`),
  approve: (id: string, seen: { serial?: string; pin?: string }) => api.post<unknown>(`/cameras/${id}/device/approve`, seen),
  check: (id: string) => api.post<unknown>(`/cameras/${id}/device/check`),
  prepare: (id: string) => api.post<unknown>(`/cameras/${id}/device/prepare`),
  reboot: (id: string) => api.post<unknown>(`/cameras/${id}/device/reboot`),
  password: (id: string) => api.post<unknown>(`/cameras/${id}/device/password`),
  ptz: (id: string) => api.get<Ptz>(`/cameras/${id}/ptz`),
  steer: (id: string, c: Command) => api.post<{ position?: Position } | undefined>(`/cameras/${id}/ptz`, c),
  imaging: (id: string) => api.get<Imaging>(`/cameras/${id}/imaging`),
  image: (id: string, ch: ImagingChange) => api.patch<Imaging>(`/cameras/${id}/imaging`, ch),
  masks: (id: string) => api.get<Masks>(`/cameras/${id}/masks`),
  mask: (id: string, masks: Mask[]) => api.put<Masks>(`/cameras/${id}/masks`, { masks }),
};
