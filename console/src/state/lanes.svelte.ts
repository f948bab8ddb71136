// What is recorded of each camera, for the stretch of time being looked at.

import { SvelteMap } from 'svelte/reactivity';
import { api } from '../api/client';
import type { Camera, TimelineAnswer } from '../api/types';
import { emptyLane, splice, type Lane } from '../pure/lane';
import type { View } from '../pure/timeline';
import { now, recordedQuality } from './app.svelte';

export const lanes = new SvelteMap<string, Lane>();
const busy = new Set<string>();
/** what the newest minute and a half holds may still change */
const TAIL = 90_000;
const YEAR = 365 * 86_400_000;

export const laneOf = (id: string): Lane => lanes.get(id) ?? emptyLane();

const ms = (s: string): number => Date.parse(s);

async function ask(c: Camera, a: number, b: number): Promise<void> {
  if (busy.has(c.id) || b <= a) return;
  busy.add(c.id);
  try {
    const r = await api.get<TimelineAnswer>(`/cameras/${c.id}/timeline`, { from: new Date(a).toISOString(), to: new Date(b).toISOString(), quality: recordedQuality(c, true) });
    // Before the camera's first day there is nothing to know, so the beginning
    // we asked for stands even where the answer begins later.
    const f: Lane = {
      a,
      b: Math.min(b, ms(r.to) || b),
      spans: (r.spans ?? []).map((s) => ({ a: ms(s.from), b: ms(s.to) })),
      holes: (r.holes ?? []).map((h) => ({ a: ms(h.from), b: ms(h.to), cause: h.cause, message: h.message ?? '' })),
      proofs: (r.authentic ?? []).map((p) => ({ a: ms(p.from), b: ms(p.to), cause: p.verdict, message: p.message ?? '' })),
    };
    // The newest moments are on their way to the disk, not missing.
    const last = f.holes[f.holes.length - 1];
    if (last && f.b - last.b < 1500 && f.b - last.a < 12_000 && last.cause !== 'not-recorded' && c.status.state === 'live') {
      f.holes.pop();
      f.b = Math.max(f.a, last.a);
    }
    lanes.set(c.id, splice(laneOf(c.id), f));
  } catch {
    // The timeline keeps what it knows; the next beat asks again.
  } finally {
    busy.delete(c.id);
  }
}

/** want makes sure that view is known for the cameras, and its tail is fresh. */
export function want(list: Camera[], v: View): void {
  const t = now();
  const pad = (v.b - v.a) / 2;
  const a = Math.max(v.a - pad, t - YEAR);
  const b = Math.min(v.b + pad, t);
  // The newest moments are asked for no oftener than a pixel or two goes by.
  const fresh = Math.min(30_000, Math.max(2000, (v.b - v.a) / 600));
  for (const c of list) {
    const l = laneOf(c.id);
    if (l.b <= l.a) void ask(c, a, b);
    else if (Math.min(v.b, t) > l.b + fresh) void ask(c, Math.max(l.a, Math.min(l.b, t) - TAIL), b);
    else if (v.a < l.a && a < l.a) void ask(c, a, Math.max(l.a, a + 1));
  }
}

export function forget(id: string): void {
  lanes.delete(id);
}
