// What every page needs: who is logged in, which cameras there are, the
// server's clock, where we are, and words for the person.

import { api, Problem, told, whenUnauthenticated } from '../api/client';
import type { Camera, Quality, Session, Stream, SystemInfo } from '../api/types';
import { socket } from '../media/socket';
import { backTo } from '../pure/url';

// ---- where we are

export const route = $state({ path: location.pathname, search: location.search });

function read(): void {
  route.path = location.pathname;
  route.search = location.search;
}

export function go(to: string, replace = false): void {
  if (to === location.pathname + location.search) return;
  if (replace) history.replaceState(null, '', to);
  else history.pushState(null, '', to);
  read();
}

window.addEventListener('popstate', read);

/** link makes an anchor navigate without a load. */
export function link(e: MouseEvent): void {
  const a = (e.currentTarget as HTMLElement).closest('a');
  if (!a || e.ctrlKey || e.metaKey || e.shiftKey || e.button !== 0) return;
  e.preventDefault();
  go(a.getAttribute('href')!);
}

// ---- preferences, of this browser

interface Prefs {
  theme: 'dark' | 'light';
  overlays: boolean;
  keys: boolean;
}

const stored = ((): Partial<Prefs> => {
  try {
    return JSON.parse(localStorage.getItem('bartizan.prefs') ?? '{}');
  } catch {
    return {};
  }
})();

export const prefs = $state<Prefs>({ theme: stored.theme ?? 'dark', overlays: stored.overlays ?? true, keys: stored.keys ?? true });

export function setPref<K extends keyof Prefs>(k: K, v: Prefs[K]): void {
  prefs[k] = v;
  document.documentElement.dataset.theme = prefs.theme;
  try {
    localStorage.setItem('bartizan.prefs', JSON.stringify(prefs));
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}
document.documentElement.dataset.theme = prefs.theme;

// ---- words for the person

export interface Toast {
  id: number;
  text: string;
  kind: 'info' | 'ok' | 'bad';
}
export const toasts = $state<{ list: Toast[] }>({ list: [] });
let toastId = 0;

export function say(text: string, kind: Toast['kind'] = 'info', ms = 5000): void {
  const id = ++toastId;
  toasts.list = [...toasts.list.filter((t) => t.text !== text).slice(-2), { id, text, kind }];
  setTimeout(() => (toasts.list = toasts.list.filter((t) => t.id !== id)), ms);
}

// ---- who

export const who = $state<{ known: boolean; session: Session | null; pending: boolean; problem: Problem | null }>({ known: false, session: null, pending: false, problem: null });

export function may(action: string): boolean {
  const a = who.session?.actions;
  return !a || a.includes(action);
}

export async function arrive(): Promise<void> {
  who.problem = null;
  try {
    who.session = await api.get<Session>('/session');
    await begin();
  } catch (e) {
    const p = told(e);
    who.session = null;
    if (p.status !== 401) who.problem = p;
    else {
      try {
        who.pending = (await api.get<{ pending: boolean }>('/setup')).pending;
      } catch (e2) {
        who.problem = told(e2);
      }
    }
  }
  who.known = true;
  if (!who.session && !who.problem && !route.path.startsWith('/setup') && !route.path.startsWith('/invit') && !route.path.startsWith('/login')) toLogin();
  if (who.session && (route.path === '/' || route.path === '/login')) go(backTo(new URLSearchParams(route.search).get('next')), true);
}

export async function loggedIn(s: Session, next: string): Promise<void> {
  who.session = s;
  try {
    who.session = await api.get<Session>('/session');
  } catch {
    // The answer of the log-in serves as well.
  }
  await begin();
  go(next, true);
}

function toLogin(): void {
  const here = location.pathname + location.search;
  // What the company's log-in answered stands behind the #.
  go((here === '/' ? '/login' : '/login?next=' + encodeURIComponent(here)) + (location.hash === '#company=refused' ? location.hash : ''), true);
}

/** refreshSession asks anew who one is, after one has shown or got a factor. */
export async function refreshSession(): Promise<void> {
  who.session = await api.get<Session>('/session').catch(() => who.session);
}

async function begin(): Promise<void> {
  if (who.session?.held) return;
  socket.start();
  await Promise.all([loadCameras(), loadSystem()]);
}

export function ended(message = ''): void {
  if (!who.session) return;
  who.session = null;
  socket.stop();
  cameras.list = [];
  cameras.loaded = false;
  if (message) say(message, 'info', 8000);
  toLogin();
}

export async function logOut(): Promise<void> {
  try {
    await api.del('/session');
  } catch {
    // Whatever the answer was, this page forgets.
  }
  who.session = null;
  socket.stop();
  cameras.list = [];
  cameras.loaded = false;
  go('/login');
}

// A 401 may also be a camera's word passed on: only our own session counts.
let asking = false;
whenUnauthenticated(async () => {
  if (asking || !who.session) return;
  asking = true;
  try {
    await api.get<Session>('/session');
  } catch (e) {
    if (told(e).status === 401) ended('Your session has ended. Log in to go on where you were.');
  } finally {
    asking = false;
  }
});

// ---- cameras

export const cameras = $state<{ list: Camera[]; loaded: boolean; problem: Problem | null }>({ list: [], loaded: false, problem: null });

const order = (a: Camera, b: Camera): number => (a.position ?? 0) - (b.position ?? 0) || a.name.localeCompare(b.name);

export async function loadCameras(): Promise<void> {
  try {
    const r = await api.get<{ cameras: Camera[] | null }>('/cameras');
    cameras.list = (r.cameras ?? []).sort(order);
    cameras.loaded = true;
    cameras.problem = null;
  } catch (e) {
    cameras.problem = told(e);
  }
}

export function putCamera(c: Camera): void {
  const i = cameras.list.findIndex((x) => x.id === c.id);
  if (i >= 0) cameras.list[i] = c;
  else cameras.list = [...cameras.list, c].sort(order);
}

export function dropCamera(id: string): void {
  cameras.list = cameras.list.filter((c) => c.id !== id);
}

socket.oncamera = (c) => {
  if (cameras.loaded) putCamera(c);
};
socket.onremoved = dropCamera;

export const link_ = $state({ up: true });
socket.onstate = (up) => {
  const was = link_.up;
  link_.up = up;
  if (up && !was && who.session) void loadCameras();
  // A lost socket may mean a lost session: ask, so that we say so.
  if (!up && who.session) void api.get('/session').catch(() => {});
};

export const streamOf = (c: Camera | undefined, q: Quality): Stream | undefined => c?.status.streams?.find((s) => s.quality === q);
export const hasSub = (c: Camera): boolean => !!c.sub_url || !!streamOf(c, 'sub');

/** liveQuality: the main picture only where it is seen large. */
export const liveQuality = (c: Camera, large: boolean): Quality => (large || !hasSub(c) ? 'main' : 'sub');

/** recordedQuality: likewise, of what is recorded. */
export function recordedQuality(c: Camera, large: boolean): Quality {
  const sub = hasSub(c) && c.record.sub;
  if (!c.record.main && sub) return 'sub';
  return large || !sub ? 'main' : 'sub';
}

/** thumbQuality: the smallest pictures there are. */
export const thumbQuality = (c: Camera | undefined): Quality => (c ? recordedQuality(c, false) : 'sub');

// ---- the server

export const server = $state<{ info: SystemInfo | null; problem: Problem | null; skew: number }>({ info: null, problem: null, skew: 0 });

const place = (id: string): number => cameras.list.findIndex((c) => c.id === id);

export async function loadSystem(): Promise<void> {
  try {
    const t0 = Date.now();
    const s = await api.get<SystemInfo>('/system');
    const t1 = Date.now();
    // The node names cameras by id; people know them by name.
    for (const c of s.storage.cameras) s.storage.warning = s.storage.warning?.replaceAll(c.camera, c.name);
    s.storage.cameras.sort((a, b) => place(a.camera) - place(b.camera));
    server.info = s;
    server.problem = null;
    const skew = Date.parse(s.now) - (t0 + t1) / 2;
    // Within the time the question took, our own clock is as good.
    server.skew = Math.abs(skew) > (t1 - t0) / 2 + 20 ? skew : 0;
  } catch (e) {
    server.problem = told(e);
  }
}

/** now is the server's wall clock, ms. */
export const now = (): number => Date.now() + server.skew;

export const clock = $state({ t: Date.now() });
setInterval(() => (clock.t = now()), 1000);
setInterval(() => {
  if (who.session && !document.hidden) void loadSystem();
}, 30_000);
