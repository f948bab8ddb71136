// A lane is what is known of one camera's recording: spans and holes in order,
// over one range. Pure; times are milliseconds since 1970.

export interface LSpan {
  a: number;
  b: number;
}
export interface LHole extends LSpan {
  cause: string;
  message: string;
}
/** What the camera's own signatures say: verdict, and what is wrong in words. */
export interface LProof extends LSpan {
  cause: string;
  message: string;
}
export interface Lane {
  a: number;
  b: number;
  spans: LSpan[];
  holes: LHole[];
  proofs: LProof[];
}

export const emptyLane = (): Lane => ({ a: 0, b: 0, spans: [], holes: [], proofs: [] });

const PROOF_RANK = ['authentic', 'uncovered', 'missing', 'unsigned', 'not-authentic'];

/** proofAt is the worst that is said of t. */
export function proofAt(l: Lane, t: number): LProof | undefined {
  let worst: LProof | undefined;
  for (const p of l.proofs) if (t >= p.a && t < p.b && (!worst || PROOF_RANK.indexOf(p.cause) > PROOF_RANK.indexOf(worst.cause))) worst = p;
  return worst;
}

export function proofClass(verdict: string): 'good' | 'partly' | 'wrong' {
  return verdict === 'authentic' ? 'good' : verdict === 'uncovered' ? 'partly' : 'wrong';
}

export function proofWords(p: LProof): string {
  if (p.cause === 'authentic') return 'signed by the camera, verified';
  if (p.cause === 'uncovered') return 'signed by the camera, in part';
  return p.message || 'not what the camera signed';
}

/** What a cause is called where there is only room for a few words. */
const WORDS: Record<string, string> = {
  'camera-down': 'The camera did not answer',
  'network-down': 'There was no way to the camera',
  'camera-refused': 'The camera refused our name or password',
  'node-down': 'Bartizan was not running',
  'disk-down': 'Storage did not take the pictures',
  shed: 'More came than this node could carry',
  'not-recorded': 'Recording was switched off',
  deleted: 'Deleted by the storage rule',
  damaged: 'The stored bytes are damaged',
  'clock-step': 'The clock of the server jumped',
  starting: 'Connecting to the camera',
  unknown: 'The reason is not known',
};

export const causeWords = (cause: string): string => WORDS[cause] ?? WORDS.unknown!;

/** Groups of causes share a colour; the words tell them apart. */
export function causeClass(cause: string): 'camera' | 'ours' | 'off' | 'bad' {
  if (cause === 'not-recorded' || cause === 'deleted' || cause === 'starting') return 'off';
  if (cause === 'camera-down' || cause === 'network-down' || cause === 'camera-refused') return 'camera';
  if (cause === 'damaged' || cause === 'unknown') return 'bad';
  return 'ours';
}

function joinSpans(v: LSpan[], slack: number): LSpan[] {
  const out: LSpan[] = [];
  for (const s of v) {
    const l = out[out.length - 1];
    if (l && s.a - l.b <= slack) l.b = Math.max(l.b, s.b);
    else if (s.b > s.a) out.push({ a: s.a, b: s.b });
  }
  return out;
}

function joinHoles(v: LHole[], slack: number): LHole[] {
  const out: LHole[] = [];
  for (const h of v) {
    const l = out[out.length - 1];
    if (l && l.cause === h.cause && l.message === h.message && h.a - l.b <= slack) l.b = Math.max(l.b, h.b);
    else if (h.b > h.a) out.push({ ...h });
  }
  return out;
}

const SLACK = 2;

/**
 * splice puts an answer about [f.a, f.b] into what was known. Where the two do
 * not touch, what was known is dropped: a lane never pretends to know between.
 */
export function splice(l: Lane, f: Lane): Lane {
  if (l.b <= l.a || f.b < l.a || f.a > l.b) return { a: f.a, b: f.b, spans: joinSpans(f.spans, SLACK), holes: joinHoles(f.holes, SLACK), proofs: joinHoles(f.proofs, SLACK) };
  const cut = <T extends LSpan>(v: T[], a: number, b: number): T[] => v.filter((s) => s.b > a && s.a < b).map((s) => ({ ...s, a: Math.max(s.a, a), b: Math.min(s.b, b) }));
  const mix = <T extends LSpan>(old: T[], fresh: T[]): T[] => [...cut(old, l.a, f.a), ...cut(fresh, f.a, f.b), ...cut(old, f.b, l.b)];
  return {
    a: Math.min(l.a, f.a),
    b: Math.max(l.b, f.b),
    spans: joinSpans(mix(l.spans, f.spans), SLACK),
    holes: joinHoles(mix(l.holes, f.holes), SLACK),
    proofs: joinHoles(mix(l.proofs, f.proofs), SLACK),
  };
}

/** find gives the element that holds t, by bisection. */
export function find<T extends LSpan>(v: T[], t: number): T | undefined {
  let lo = 0;
  let hi = v.length - 1;
  while (lo <= hi) {
    const m = (lo + hi) >> 1;
    const s = v[m]!;
    if (t < s.a) hi = m - 1;
    else if (t >= s.b) lo = m + 1;
    else return s;
  }
  return undefined;
}

export const recordedAt = (l: Lane, t: number): boolean => find(l.spans, t) !== undefined;
export const holeAt = (l: Lane, t: number): LHole | undefined => find(l.holes, t);

/** nextStart is the first instant at or after t that is recorded. */
export function nextStart(l: Lane, t: number): number | undefined {
  for (const s of l.spans) if (s.b > t) return Math.max(s.a, t);
  return undefined;
}

/** prevEnd is the last recorded instant before t. */
export function prevEnd(l: Lane, t: number): number | undefined {
  for (let i = l.spans.length - 1; i >= 0; i--) if (l.spans[i]!.a < t) return Math.min(l.spans[i]!.b, t);
  return undefined;
}

export interface Jump {
  to: number;
  why: string;
}

/**
 * jump decides whether playing must leap at t: only when none of the lanes has
 * a picture there and one has later. why is the cause of the hole in words.
 * Gaps shorter than min are played through, so that lanes stay in step.
 */
export function jump(lanes: Lane[], t: number, min = 1500): Jump | undefined {
  let to = Infinity;
  let why = '';
  for (const l of lanes) {
    if (recordedAt(l, t)) return undefined;
    const n = nextStart(l, t);
    if (n !== undefined) to = Math.min(to, n);
    const h = holeAt(l, t);
    if (h && !why) why = h.message || causeWords(h.cause);
  }
  if (to === Infinity || to - t < min) return undefined;
  return { to, why: why || 'Nothing is recorded here' };
}

/** laneWords says in words why there is nothing at t. */
export function laneWords(lanes: Lane[], t: number): string {
  for (const l of lanes) {
    const h = holeAt(l, t);
    if (h) return `${(h.message || causeWords(h.cause)).replace(/\.$/, '')}.`;
  }
  return '';
}
