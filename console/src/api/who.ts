// People, rights, sign-in and the trail: every route of theirs under one name.

import { api, media, told, url } from './client';
import type { components } from './schema';
import type { AuditEntry, Session, SessionInfo, TokenInfo } from './types';

type S = components['schemas'];

export type Person = S['PersonItem'];
export type Invitation = S['Invitation'];
export type ActionInfo = S['ActionInfo'];
export type Role = S['RoleInfo'];
export type Group = S['Group'];
export type Window = S['Window'];
export type Grant = S['Grant'];
export type MatrixRow = S['MatrixRow'];
export type Explanation = S['Explanation'];
export type CameraRights = S['CameraRights'];
export type Finding = S['Finding'];
export type Review = S['AccessReview'];
export type Request = S['Approval'];
export type ListRule = S['ListEntry'];
export type Passkey = S['Passkey'];
export type Ceremony = S['CeremonyAnswer'];
export type Device = S['Device'];
export type Ban = S['Ban'];
export type Signs = S['Signs'];
/** Proof that an entry is in the signed log (RFC 6962 §2.1.1). */
export type Proof = S['AuditProof'];

export type NewGrant = Omit<Grant, 'id'> & { id?: string };

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
  explain: (person: string, q: { action: string; camera?: string; at?: string }) => api.get<Explanation>('/access/explain', { person, ...q }),
  as: (id: string, at?: string) => api.get<Record<string, CameraRights[]>>(`/people/${id}/view`, { at }).then(list<CameraRights>('cameras')),
  invitations: () => api.get<Record<string, Invitation[]>>('/invitations').then(list<Invitation>('invitations')),
  invite: (i: { name: string; role: string; hours: number }) => api.post<Invitation>('/invitations', i),
  endInvitation: (id: string) => api.del(`/invitations/${id}`),
  review: () => api.get<Review>('/access/review'),
};

export const rights = {
  /** roles, and every action there is */
  roles: () => api.get<S['RoleList']>('/roles'),
  putRole: (r: Partial<Role>) => (r.id ? api.put<Role>(`/roles/${r.id}`, { name: r.name, note: r.note }) : api.post<Role>('/roles', { name: r.name, note: r.note })),
  endRole: (id: string) => api.del(`/roles/${id}`),
  groups: () => api.get<Record<string, Group[]>>('/groups').then(list<Group>('groups')),
  putGroup: (g: Omit<Group, 'id'> & { id?: string }) => {
    const { id, ...rest } = g;
    return id ? api.put<Group>(`/groups/${id}`, rest) : api.post<Group>('/groups', rest);
  },
  endGroup: (id: string) => api.del(`/groups/${id}`),
  grants: () => api.get<Record<string, Grant[]>>('/grants').then(list<Grant>('grants')),
  putGrant: ({ id, person, role, on, actions, forbid, window, from, until, note }: NewGrant) => {
    const body = { person: person || undefined, role: role || undefined, on, actions, forbid, window: window ?? undefined, from: from ?? undefined, until: until ?? undefined, note: note || undefined };
    return id ? api.put<Grant>(`/grants/${id}`, body) : api.post<Grant>('/grants', body);
  },
  endGrant: (id: string) => api.del(`/grants/${id}`),
  matrix: () => api.get<Record<string, MatrixRow[]>>('/access/matrix').then(list<MatrixRow>('rows')),
  setFourEyes: (actions: string[]) => api.put<void>('/access/four-eyes', { actions }),
  /** requests, and the actions that need a second person */
  requests: () => api.get<S['Approvals']>('/access/requests'),
  ask: (r: { action: string; kind: string; object?: string; reason: string; emergency?: boolean }) => api.post<Request>('/access/requests', r),
  decide: (id: string, approve: boolean, answer: string) => api.post<Request>(`/access/requests/${id}/${approve ? 'approve' : 'deny'}`, answer ? { answer } : {}),
  rules: () => api.get<Record<string, ListRule[]>>('/access/lists').then(list<ListRule>('rules')),
  putRule: (r: { interface: string; allow: boolean; network: string; reason: string; expires?: string | null; force?: boolean }) => api.post<ListRule>('/access/lists', r),
  endRule: (id: string) => api.del(`/access/lists/${id}`),
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

export type AuditFilter = { user?: string; camera?: string; action?: string; from?: string; to?: string };

export const trail = {
  entries: (f: AuditFilter, limit: number, before?: number) => api.get<{ entries: AuditEntry[] | null }>('/audit', { ...f, limit, before }).then((r) => r.entries ?? []),
  checkpoint: async (): Promise<string | undefined> => (await offered(media(url('/audit/checkpoint'))))?.text(),
  key: async (): Promise<string | undefined> => (await offered(media(url('/audit/key'))))?.text(),
  proof: (seq: number) => api.get<Proof>(`/audit/${seq}/proof`),
  /** export is all that f asks for, as JSON lines. */
  export: async (f: AuditFilter): Promise<Blob> => (await media(url('/audit/export', f))).blob(),
};

export const guard = {
  bans: () => api.get<Record<string, Ban[]>>('/intrusion/bans').then(list<Ban>('bans')),
  ban: (b: { network: string; reason: string; minutes: number }) => api.post<Ban>('/intrusion/bans', b),
  lift: (id: string) => api.del(`/intrusion/bans/${id}`),
  signs: () => api.get<Signs>('/intrusion/signals'),
};
