// Timeline mathematics, without a browser. Times are milliseconds since 1970
// in UTC; x is in CSS pixels from the left of the track.

export const SPAN_MIN = 100;
export const SPAN_MAX = 30 * 86_400_000;

const S = 1000;
const M = 60 * S;
const H = 60 * M;
const D = 24 * H;
const STEPS = [10, 20, 50, 100, 200, 500, S, 2 * S, 5 * S, 10 * S, 15 * S, 30 * S, M, 2 * M, 5 * M, 10 * M, 15 * M, 30 * M, H, 2 * H, 3 * H, 6 * H, 12 * H, D, 2 * D, 7 * D, 14 * D];

export interface View {
  a: number;
  b: number;
}

/** tickStep is the smallest round step whose ticks stand at least minPx apart. */
export function tickStep(span: number, px: number, minPx = 92): number {
  return STEPS.find((s) => (s / span) * px >= minPx) ?? STEPS[STEPS.length - 1]!;
}

export const xOf = (t: number, v: View, w: number): number => ((t - v.a) / (v.b - v.a)) * w;
export const tOf = (x: number, v: View, w: number): number => v.a + (x / w) * (v.b - v.a);

/** zoom scales the view by f around the instant at, which keeps its place. */
export function zoom(v: View, at: number, f: number): View {
  const old = v.b - v.a;
  const span = Math.min(SPAN_MAX, Math.max(SPAN_MIN, old * f));
  const k = (at - v.a) / old;
  const a = at - k * span;
  return { a, b: a + span };
}

export const pan = (v: View, by: number): View => ({ a: v.a + by, b: v.b + by });

/** follow gives the view of the same span whose live edge stands at 94 %. */
export function follow(v: View, now: number): View {
  const span = v.b - v.a;
  const b = now + span * 0.06;
  return { a: b - span, b };
}

/** keepIn moves the view so that t is inside, with a tenth of a margin. */
export function keepIn(v: View, t: number): View {
  const span = v.b - v.a;
  if (t < v.a) return { a: t - span * 0.1, b: t + span * 0.9 };
  if (t > v.b - span * 0.04) return { a: t - span * 0.5, b: t + span * 0.5 };
  return v;
}

/** ticks of the local day: dayShift is local time minus UTC in ms. */
export function ticks(v: View, px: number, dayShift = 0): { t: number; step: number }[] {
  const step = tickStep(v.b - v.a, px);
  const out: { t: number; step: number }[] = [];
  const first = Math.ceil((v.a + dayShift) / step) * step - dayShift;
  for (let t = first; t < v.b && out.length < 200; t += step) out.push({ t, step });
  return out;
}

/** spanWords says a length of time in words: "1 h 05 min", "3.2 s". */
export function spanWords(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 10 * S) return `${(ms / S).toFixed(1)} s`;
  if (ms < M) return `${Math.round(ms / S)} s`;
  if (ms < H) {
    const m = Math.floor(ms / M);
    const s = Math.round((ms - m * M) / S);
    return s && m < 10 ? `${m} min ${s} s` : `${m} min`;
  }
  if (ms < 2 * D) {
    const h = Math.floor(ms / H);
    const m = Math.round((ms - h * H) / M);
    return m ? `${h} h ${String(m).padStart(2, '0')} min` : `${h} h`;
  }
  return `${Math.round(ms / D)} days`;
}
