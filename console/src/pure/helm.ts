// The hand on a camera that turns: what a person wants at ten keys a second
// becomes one request at a time, in order, and the stop is never lost.

import type { Command } from '../api/device';

export interface Velocity {
  pan: number;
  tilt: number;
  zoom: number;
}
const REST: Velocity = { pan: 0, tilt: 0, zoom: 0 };
const same = (a: Velocity, b: Velocity): boolean => a.pan === b.pan && a.tilt === b.tilt && a.zoom === b.zoom;

const sum = (a = 0, b = 0): number => Math.max(-1, Math.min(1, a + b));

/** A move is told again this often while held, and the camera stops by itself after MOVE_MS. */
export const REPEAT_MS = 400;
export const MOVE_MS = 1000;

export class Helm {
  private want = REST;
  private told = REST;
  private next: Command[] = [];
  private busy = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly send: (c: Command) => Promise<unknown>,
    private readonly failed: (e: unknown) => void,
  ) {}

  /** hold keeps the camera moving until another speed, or none, is asked for. */
  hold(v: Velocity): void {
    const w = { pan: v.pan || 0, tilt: v.tilt || 0, zoom: v.zoom || 0 };
    if (same(w, this.want)) return;
    this.want = w;
    this.pump();
  }

  /** once sends a single command in its turn; small steps that pile up become one. */
  once(c: Command): void {
    this.want = this.told = REST;
    const last = this.next[this.next.length - 1];
    if (c.op === 'relative' && last?.op === 'relative') {
      this.next[this.next.length - 1] = { op: 'relative', pan: sum(last.pan, c.pan), tilt: sum(last.tilt, c.tilt), zoom: sum(last.zoom, c.zoom) };
    } else if (c.op === 'center' || c.op === 'box') {
      // Where one looked meant before the picture moved: only the newest counts.
      this.next = [...this.next.filter((x) => x.op !== 'center' && x.op !== 'box'), c];
    } else this.next = [...this.next.slice(-3), c];
    this.pump();
  }

  close(): void {
    this.next = [];
    this.hold(REST);
  }

  private pump(): void {
    if (this.busy) return;
    clearTimeout(this.timer);
    const c = this.take();
    if (!c) return;
    this.busy = true;
    this.send(c).then(
      () => this.done(),
      (e) => {
        // Whoever is refused does not go on knocking.
        this.want = this.told = REST;
        this.next = [];
        this.failed(e);
        this.done();
      },
    );
  }

  private take(): Command | undefined {
    const c = this.next.shift();
    if (c) return c;
    const moving = !same(this.told, REST);
    if (same(this.want, REST)) {
      if (!moving) return undefined;
      this.told = REST;
      return { op: 'stop' };
    }
    this.told = this.want;
    return { op: 'move', ...this.want, ms: MOVE_MS };
  }

  private done(): void {
    this.busy = false;
    if (this.next.length || !same(this.want, this.told)) return this.pump();
    if (!same(this.want, REST)) this.timer = setTimeout(() => this.pump(), REPEAT_MS);
  }
}

const KEYS: Record<string, Velocity> = {
  ArrowLeft: { pan: -1, tilt: 0, zoom: 0 },
  ArrowRight: { pan: 1, tilt: 0, zoom: 0 },
  ArrowUp: { pan: 0, tilt: 1, zoom: 0 },
  ArrowDown: { pan: 0, tilt: -1, zoom: 0 },
  '+': { pan: 0, tilt: 0, zoom: 1 },
  '=': { pan: 0, tilt: 0, zoom: 1 },
  '-': { pan: 0, tilt: 0, zoom: -1 },
  _: { pan: 0, tilt: 0, zoom: -1 },
};
export const steers = (key: string): boolean => key in KEYS;

/** ofKeys is the speed that the keys held down ask for; fine is a quarter of it. */
export function ofKeys(held: Iterable<string>, fine = false): Velocity {
  const v = { ...REST };
  for (const k of held) {
    const d = KEYS[k];
    if (!d) continue;
    v.pan += d.pan;
    v.tilt += d.tilt;
    v.zoom += d.zoom;
  }
  const speed = fine ? 0.15 : 0.6;
  const one = (x: number): number => Math.sign(x) * speed;
  return { pan: one(v.pan), tilt: one(v.tilt), zoom: one(v.zoom) };
}

/** stick makes a gamepad's axis a speed: nothing near the middle, fine first, in steps of a twentieth. */
export function stick(x: number, dead = 0.15): number {
  const a = Math.abs(x);
  if (!(a > dead)) return 0;
  const k = Math.min(1, (a - dead) / (1 - dead));
  return Math.sign(x) * Math.max(0.05, Math.round(k * k * 20) / 20);
}

/** ofPad reads a gamepad: left stick turns, right stick or the triggers zoom. */
export function ofPad(p: { axes: readonly number[]; buttons: readonly { value: number }[] }): Velocity {
  const zoom = (p.buttons[7]?.value ?? 0) - (p.buttons[6]?.value ?? 0) || -(p.axes[3] ?? 0);
  return { pan: stick(p.axes[0] ?? 0), tilt: -stick(p.axes[1] ?? 0) || 0, zoom: stick(zoom) };
}

/** pictureAt is where in the picture (0..1) a place of its box lies; ratio is the picture's width by height. */
export function pictureAt(box: { w: number; h: number }, ratio: number, contain: boolean, x: number, y: number): { x: number; y: number } {
  const s = contain ? Math.min(box.w / ratio, box.h) : Math.max(box.w / ratio, box.h);
  const clamp = (v: number): number => Math.max(0, Math.min(1, v));
  return { x: clamp((x - (box.w - ratio * s) / 2) / (ratio * s)), y: clamp((y - (box.h - s) / 2) / s) };
}
