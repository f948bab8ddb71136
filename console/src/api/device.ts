// Cameras as devices: found, enrolled, looked after, steered.

import { api } from './client';

/** A device that answered a search. */
export interface Found {
  key: string;
  address: string;
  name?: string;
  maker?: string;
  model?: string;
  hardware?: string;
  location?: string;
  xaddr?: string;
  secure: boolean;
  profiles?: string[] | null;
  /** the camera it is already */
  camera?: string;
  odd?: string;
  open?: boolean;
}
export interface Discovery {
  found: Found[] | null;
  took_ms: number;
  problems?: string[] | null;
}

export type StepName = 'reach' | 'identify' | 'password' | 'time' | 'streams' | 'transport' | 'test' | 'record';
export interface Step {
  step: string;
  outcome: 'ok' | 'changed' | 'skipped' | 'failed';
  message?: string;
}
export interface Enrolled {
  address: string;
  name?: string;
  state: 'waiting' | 'working' | 'done' | 'failed';
  step?: string;
  steps?: Step[] | null;
  camera?: string;
  title?: string;
  detail?: string;
  unsafe?: string[] | null;
}
export interface Enrolment {
  id: string;
  done: boolean;
  devices: Enrolled[] | null;
}
export interface NewDevice {
  address: string;
  username?: string;
  password?: string;
  name?: string;
}

export interface Setting {
  name: string;
  wanted: string;
  actual: string;
  drift: boolean;
}
export interface Device {
  onvif: boolean;
  address?: string;
  maker?: string;
  model?: string;
  firmware?: string;
  serial?: string;
  hardware?: string;
  reachable: boolean;
  checked?: string;
  can?: Record<string, boolean>;
  clock?: { offset_ms?: number; at?: string };
  password?: { rotated: boolean; at?: string };
  identity?: { state: 'pinned' | 'changed' | 'unknown'; serial?: string; pin?: string; seen_serial?: string; seen_pin?: string; since?: string };
  settings?: Setting[] | null;
  unsafe?: string[] | null;
}

export interface Position {
  pan: number;
  tilt: number;
  zoom: number;
}
export interface Ptz {
  position?: Position;
  moving?: boolean;
  presets?: { token: string; name: string }[] | null;
  tours?: { token: string; name: string; running?: boolean }[] | null;
  home?: boolean;
  held?: { user: string; until: string };
}
export type Command =
  | { op: 'move'; pan: number; tilt: number; zoom: number; ms?: number }
  | { op: 'relative'; pan?: number; tilt?: number; zoom?: number }
  | { op: 'center'; x: number; y: number }
  | { op: 'box'; x: number; y: number; w: number; h: number }
  | { op: 'preset' | 'remove'; token: string }
  | { op: 'save'; name: string; token?: string }
  | { op: 'tour'; token: string; run: boolean }
  | { op: 'stop' | 'home' | 'sethome' };

export interface Range {
  min?: number;
  max?: number;
  step?: number;
  options?: string[] | null;
}
export type Imaging = Record<string, unknown> & { ranges?: Record<string, Range> };

export interface Mask {
  token?: string;
  name: string;
  kind: string;
  polygon: number[][];
}
export interface Masks {
  masks: Mask[] | null;
  kinds?: string[] | null;
  most?: number;
}

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
  image: (id: string, ch: Record<string, unknown>) => api.patch<Imaging>(`/cameras/${id}/imaging`, ch),
  masks: (id: string) => api.get<Masks>(`/cameras/${id}/masks`),
  mask: (id: string, masks: Mask[]) => api.put<Masks>(`/cameras/${id}/masks`, { masks }),
};
