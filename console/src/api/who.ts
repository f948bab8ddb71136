// People, rights, sign-in and the trail: every route of theirs under one name.

import { api, media, Problem, told, url } from './client';
import type { AuditEntry, Session, SessionInfo, TokenInfo } from './types';

export interface Person {
  id: string;
  name: string;
  role: string;
  state: 'active' | 'disabled' | 'deleted';
  created: string;
  seen?: string | null;
  password: boolean;
  totp: boolean;
  passkeys: number;
  recovery: number;
  company: boolean;
  sessions: number;
  tokens: number;
  stream: boolean;
}
export interface Invitation {
  id: string;
  person?: string;
  name: string;
  role: string;
  inviter?: string;
  created?: string;
  expires: string;
  link?: string;
}
export interface ActionInfo {
  action: string;
  words: string;
  camera: boolean;
  look: boolean;
}
export interface Role {
  id: string;
  name: string;
  note: string;
  built_in: boolean;
}
export interface Group {
  id: string;
  name: string;
  site: boolean;
  within: string;
  cameras: string[];
}
export interface Window {
  days: string[];
  from: string;
  to: string;
  zone: string;
}
export interface Grant {
  id: string;
  person?: string;
  role?: string;
  on: string;
  actions: string[];
  forbid?: boolean;
  window?: Window | null;
  from?: string | null;
  until?: string | null;
  note?: string;
  created?: string;
  by?: string;
}
export interface MatrixRow {
  role?: string;
  person?: string;
  group: string;
  now: string[];
  times: string[];
  forbids: string[];
}
export interface Explanation {
  allowed: boolean;
  policy: string;
  grant?: string;
  words: string;
  near: string[];
}
export interface CameraRights {
  camera: string;
  actions: string[];
}
export interface Finding {
  kind: 'shared' | 'idle' | 'over-privileged';
  person: string;
  name: string;
  words: string;
  actions: string[];
}
export interface Review {
  at: string;
  since: string;
  complete: boolean;
  findings: Finding[];
}
export interface Request {
  id: string;
  action: string;
  kind: string;
  object: string;
  reason: string;
  requester: string;
  approver?: string;
  answer?: string;
  state: 'open' | 'approved' | 'denied' | 'expired';
  created: string;
  decided?: string | null;
  expires: string;
  mine?: boolean;
}
export interface ListRule {
  id: string;
  interface: 'https' | 'rtsp' | 'onvif' | 'all';
  allow: boolean;
  network: string;
  reason: string;
  created: string;
  expires?: string | null;
  by: string;
  hits: number;
  last?: string | null;
}
export interface Passkey {
  id: string;
  name: string;
  created: string;
  seen?: string | null;
  synced: boolean;
  blocked: boolean;
}
export interface Ceremony {
  flow: string;
  options: unknown;
}
export interface Device {
  id: string;
  name: string;
  person: string;
  state: 'pending' | 'approved' | 'revoked';
  key: string;
  remote: string;
  created: string;
  expires?: string | null;
}

/** offered gives undefined where this server has no such route, and throws every other failure. */
export async function offered<T>(p: Promise<T>): Promise<T | undefined> {
  try {
    return await p;
  } catch (e) {
    const f = told(e);
    if (f.status === 501 || (f.status === 404 && /no such page/i.test(f.message))) return undefined;
    throw f;
  }
}
const list = <T>(k: string) => (r: Record<string, T[] | null>): T[] => r[k] ?? [];

export const people = {
  list: () => api.get<Record<string, Person[]>>('/people').then(list<Person>('people')),
  rename: (id: string, name: string) => api.post<void>(`/people/${id}/rename`, { name }),
  assign: (id: string, role: string) => api.put<void>(`/people/${id}/role`, { role }),
  enable: (id: string) => api.post<void>(`/people/${id}/enable`),
  disable: (id: string) => api.post<void>(`/people/${id}/disable`),
  remove: (id: string) => api.del(`/people/${id}`),
  reset: (id: string) => api.post<Invitation>(`/people/${id}/reset`),
  sessions: (id: string) => api.get<Record<string, SessionInfo[]>>(`/people/${id}/sessions`).then(list<SessionInfo>('sessions')),
  endSessions: (id: string) => api.del(`/people/${id}/sessions`),
  explain: (id: string, q: { action: string; camera?: string; at?: string }) => api.get<Explanation>(`/people/${id}/explain`, q),
  as: (id: string, at?: string) => api.get<Record<string, CameraRights[]>>(`/people/${id}/as`, { at }).then(list<CameraRights>('cameras')),
  invitations: () => api.get<Record<string, Invitation[]>>('/invitations').then(list<Invitation>('invitations')),
  invite: (i: { name: string; role: string; hours: number }) => api.post<Invitation>('/invitations', i),
  endInvitation: (id: string) => api.del(`/invitations/${id}`),
  review: () => api.get<Review>('/access-review'),
};

export const rights = {
  actions: () => api.get<Record<string, ActionInfo[]>>('/actions').then(list<ActionInfo>('actions')),
  roles: () => api.get<Record<string, Role[]>>('/roles').then(list<Role>('roles')),
  putRole: (r: Partial<Role>) => (r.id ? api.put<Role>(`/roles/${r.id}`, { name: r.name, note: r.note }) : api.post<Role>('/roles', { name: r.name, note: r.note })),
  endRole: (id: string) => api.del(`/roles/${id}`),
  groups: () => api.get<Record<string, Group[]>>('/groups').then(list<Group>('groups')),
  putGroup: (g: Omit<Group, 'id'> & { id?: string }) => {
    const { id, ...rest } = g;
    return id ? api.put<Group>(`/groups/${id}`, rest) : api.post<Group>('/groups', rest);
  },
  endGroup: (id: string) => api.del(`/groups/${id}`),
  grants: () => api.get<Record<string, Grant[]>>('/grants').then(list<Grant>('grants')),
  putGrant: (g: Omit<Grant, 'id'> & { id?: string }) => {
    const { id, created: _c, by: _b, ...rest } = g;
    return id ? api.put<Grant>(`/grants/${id}`, rest) : api.post<Grant>('/grants', rest);
  },
  endGrant: (id: string) => api.del(`/grants/${id}`),
  matrix: () => api.get<Record<string, MatrixRow[]>>('/matrix').then(list<MatrixRow>('rows')),
  fourEyes: () => api.get<{ actions: string[] }>('/four-eyes').then((r) => r.actions ?? []),
  setFourEyes: (actions: string[]) => api.put<void>('/four-eyes', { actions }),
  requests: () => api.get<Record<string, Request[]>>('/requests').then(list<Request>('requests')),
  ask: (r: { action: string; kind: string; object: string; reason: string }) => api.post<Request>('/requests', r),
  decide: (id: string, approve: boolean, answer: string) => api.post<Request>(`/requests/${id}/decision`, { approve, answer }),
  rules: () => api.get<Record<string, ListRule[]>>('/lists').then(list<ListRule>('rules')),
  putRule: (r: { interface: string; allow: boolean; network: string; reason: string; expires?: string | null; force?: boolean }) => api.post<ListRule>('/lists', r),
  endRule: (id: string) => api.del(`/lists/${id}`),
};

export const self = {
  passkeys: () => api.get<Record<string, Passkey[]>>('/passkeys').then(list<Passkey>('passkeys')),
  beginPasskey: () => api.post<Ceremony>('/passkeys/options'),
  addPasskey: (flow: string, name: string, credential: unknown) => api.post<Passkey>('/passkeys', { flow, name, credential }),
  renamePasskey: (id: string, name: string) => api.patch<Passkey>(`/passkeys/${id}`, { name }),
  endPasskey: (id: string) => api.del(`/passkeys/${id}`),
  get: () => api.get<Person>('/self'),
  password: (current: string, password: string, code: string) => api.post<void>('/self/password', { current, password, code }),
  newTotp: () => api.post<{ flow: string; totp_uri: string }>('/self/totp'),
  confirmTotp: (flow: string, code: string) => api.post<void>('/self/totp/confirm', { flow, code }),
  recovery: () => api.post<{ recovery_codes: string[] }>('/self/recovery-codes').then((r) => r.recovery_codes),
  stepUp: (p: { code: string } | { flow: string; credential: unknown }) => api.post<Session>('/session/step-up', p),
  beginStepUp: () => api.post<Ceremony>('/session/step-up/options'),
  token: (t: { name: string; days: number; actions?: string[]; cameras?: string[] }) => api.post<TokenInfo>('/tokens', t),
  approve: (id: string) => api.post<void>(`/sessions/${id}/approve`),
};

export const devices = {
  list: () => api.get<Record<string, Device[]>>('/devices').then(list<Device>('devices')),
  code: (name: string) => api.post<{ code: string; expires: string }>('/devices/codes', { name }),
  approve: (id: string) => api.post<Device>(`/devices/${id}/approve`),
  revoke: (id: string) => api.del(`/devices/${id}`),
};

/** How one may come in, before anybody has. */
export const door = {
  company: () => api.get<{ name: string }>('/session/company').then((r) => r.name),
  toCompany: () => api.post<{ url: string }>('/session/company').then((r) => r.url),
  begin: () => api.post<Ceremony>('/session/passkey/options'),
  finish: (flow: string, credential: unknown) => api.post<Session>('/session/passkey', { flow, credential }),
  invited: (token: string) => api.post<Invitation>('/invitation', { token }),
  invitedTotp: (token: string) => api.post<{ flow: string; totp_uri: string }>('/invitation/totp', { token }),
  invitedPasskey: (token: string) => api.post<Ceremony>('/invitation/passkey', { token }),
  accept: (a: { token: string; flow: string; password?: string; code?: string; name?: string; credential?: unknown }) => api.post<{ user: string; recovery_codes: string[] | null }>('/invitation/accept', a),
};

/** Proof that an entry is in the signed log (RFC 6962 §2.1.1). */
export interface Proof {
  seq: number;
  index: number;
  entry?: string;
  leaf: string;
  path: string[];
  checkpoint: string;
}

export type AuditFilter = { user?: string; camera?: string; action?: string; from?: string; to?: string };

export const trail = {
  entries: (f: AuditFilter, limit: number, before?: number) => api.get<{ entries: AuditEntry[] | null }>('/audit', { ...f, limit, before }).then((r) => r.entries ?? []),
  checkpoint: async (): Promise<string | undefined> => (await offered(media(url('/audit/checkpoint'))))?.text(),
  key: async (): Promise<string | undefined> => (await offered(media(url('/audit/key'))))?.text(),
  proof: (seq: number) => api.get<Proof>(`/audit/${seq}/proof`),
  /** export is all that f asks for, as JSON lines. */
  export: async (f: AuditFilter): Promise<Blob> => (await media(url('/audit/export', f))).blob(),
};
export { Problem };

export interface Ban {
  id: string;
  network: string;
  limited: boolean;
  reason: string;
  by: string;
  from: string;
  until: string;
  level: number;
  refused: number;
}
export interface Signs {
  counts: { kind: string; count: number; last?: string | null; from?: string }[];
  suspects: { network: string; points: number; known: boolean }[];
  refused: number;
  limited: number;
}
export interface Keys {
  root: 'file' | 'passphrase' | 'pkcs11';
  device?: string;
  rotated?: string | null;
  days: number;
  streams: number;
  beside?: string;
}

export const guard = {
  bans: () => api.get<Record<string, Ban[]>>('/intrusion/bans').then(list<Ban>('bans')),
  ban: (b: { network: string; reason: string; minutes: number }) => api.post<Ban>('/intrusion/bans', b),
  lift: (id: string) => api.del(`/intrusion/bans/${id}`),
  signs: () => api.get<Signs>('/intrusion/signals'),
};
export const keys = {
  get: () => api.get<Keys>('/keys'),
  rotate: () => api.post<{ days: number; streams: number }>('/keys/rotate'),
};
