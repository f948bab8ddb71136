// What the workspace shows stands in the address, so that it can be sent and
// gone back to: /live?layout=4&cam=ID, /playback?t=2026-11-21T20:41:07.000Z.

export type Layout = 'auto' | '1' | '4' | '9' | '16';
export const LAYOUTS: Layout[] = ['auto', '1', '4', '9', '16'];

export interface WorkState {
  layout: Layout;
  cam: string;
  /** instant played, undefined while live */
  t?: number;
  rate: number;
}

export function readState(path: string, search: string): WorkState {
  const q = new URLSearchParams(search);
  const l = q.get('layout') as Layout;
  const t = Date.parse(q.get('t') ?? '');
  const rate = Number(q.get('rate'));
  return {
    layout: LAYOUTS.includes(l) ? l : 'auto',
    cam: q.get('cam') ?? '',
    t: path.startsWith('/playback') && Number.isFinite(t) ? t : undefined,
    rate: rate >= 0.25 && rate <= 16 ? rate : 1,
  };
}

export function writeState(s: WorkState): string {
  const q = new URLSearchParams();
  if (s.layout !== 'auto') q.set('layout', s.layout);
  if (s.cam) q.set('cam', s.cam);
  if (s.t !== undefined) q.set('t', new Date(s.t).toISOString());
  if (s.t !== undefined && s.rate !== 1) q.set('rate', String(s.rate));
  const x = q.toString();
  return (s.t === undefined ? '/live' : '/playback') + (x ? '?' + x : '');
}

/** backTo accepts only a path of our own, for going back after log-in. */
export function backTo(next: string | null): string {
  if (!next || !next.startsWith('/') || next.startsWith('//') || next.includes('\\')) return '/live';
  if (next.startsWith('/login') || next.startsWith('/setup') || next.startsWith('/invit')) return '/live';
  return next;
}
