// Where tiles stand. The wall is cut so that every cell is as near to 16:9 as
// it can be and no room is left over.

export interface Cell {
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface Plan {
  hero: boolean;
  cells: Cell[];
  /** a cell no tile needs, if the cut leaves one */
  spare?: Cell;
}

const AIM = 16 / 9;
const off = (w: number, h: number): number => Math.abs(Math.log(w / h / AIM));

/** heroPlan: cell 0 is the hero on the left, the others stand in columns. */
export function heroPlan(n: number, W: number, H: number, gap = 6): Plan {
  if (n <= 1) return { hero: true, cells: [{ x: 0, y: 0, w: W, h: H }] };
  let best: { cost: number; w: number; c: number; r: number } | undefined;
  for (let c = 1; c <= 3; c++) {
    const r = Math.ceil((n - 1) / c);
    for (let k = 0.45; k <= 0.86; k += 0.005) {
      const w = W * k;
      const tw = (W - w - gap * c) / c;
      const th = (H - gap * (r - 1)) / r;
      if (tw < 60 || th < 34) continue;
      const cost = Math.max(off(w, H), off(tw, th)) + 0.04 * (c * r - (n - 1)) + 0.25 * Math.max(0, 0.6 - k);
      if (!best || cost < best.cost) best = { cost, w, c, r };
    }
  }
  if (!best) return gridPlan(n, W, H, gap);
  const { w, c, r } = best;
  const tw = (W - w - gap * c) / c;
  const th = (H - gap * (r - 1)) / r;
  const cells: Cell[] = [{ x: 0, y: 0, w, h: H }];
  const at = (i: number): Cell => ({ x: w + gap + (i % c) * (tw + gap), y: Math.floor(i / c) * (th + gap), w: tw, h: th });
  for (let i = 0; i < n - 1; i++) cells.push(at(i));
  return { hero: true, cells, spare: c * r > n - 1 ? { ...at(n - 1), w: tw * (c * r - n + 1) + gap * (c * r - n) } : undefined };
}

/** A cell may be this much wider or narrower than 16:9; beyond, it is made smaller. */
const SLACK = 1.15;

/** gridPlan: equal cells, as large as they can be, in the middle of the wall. */
export function gridPlan(n: number, W: number, H: number, gap = 6): Plan {
  let best = { score: -1, c: 1, w: W, h: H };
  for (let c = 1; c <= Math.max(1, n); c++) {
    const r = Math.ceil(n / c);
    const cw = (W - gap * (c - 1)) / c;
    const ch = (H - gap * (r - 1)) / r;
    const w = Math.min(cw, ch * AIM * SLACK);
    const h = Math.min(ch, (w / AIM) * SLACK);
    const score = w * h * (1 - 0.01 * (c * r - n));
    if (w > 0 && h > 0 && score > best.score) best = { score, c, w, h };
  }
  const { c, w, h } = best;
  const r = Math.ceil(n / c);
  const x0 = (W - c * w - (c - 1) * gap) / 2;
  const y0 = (H - r * h - (r - 1) * gap) / 2;
  return { hero: false, cells: Array.from({ length: n }, (_, i) => ({ x: x0 + (i % c) * (w + gap), y: y0 + Math.floor(i / c) * (h + gap), w, h })) };
}

/** phonePlan: hero over two columns, all 16:9; the page scrolls. */
export function phonePlan(n: number, W: number, gap = 6): Plan & { height: number } {
  const hh = W / AIM;
  const w = (W - gap) / 2;
  const h = w / AIM;
  const cells: Cell[] = n ? [{ x: 0, y: 0, w: W, h: hh }] : [];
  for (let i = 0; i < n - 1; i++) cells.push({ x: (i % 2) * (w + gap), y: hh + gap + Math.floor(i / 2) * (h + gap), w, h });
  const rows = Math.ceil(Math.max(0, n - 1) / 2);
  return { hero: true, cells, height: hh + rows * (h + gap) };
}

/** fit: a picture may lose up to an eighth at its edges to fill its cell. */
export function fit(cell: Cell, ratio: number): 'cover' | 'contain' {
  const k = cell.w / cell.h / ratio;
  return Math.max(k, 1 / k) <= SLACK + 0.001 ? 'cover' : 'contain';
}
