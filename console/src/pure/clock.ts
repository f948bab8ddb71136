// The one clock all recorded tiles follow. Times in milliseconds.

export class MasterClock {
  private base = 0;
  private since = 0;
  playing = false;
  rate = 1;

  constructor(private readonly now: () => number) {}

  get at(): number {
    return this.playing ? this.base + (this.now() - this.since) * this.rate : this.base;
  }
  set(t: number): void {
    this.base = t;
    this.since = this.now();
  }
  play(): void {
    this.set(this.at);
    this.playing = true;
  }
  pause(): void {
    this.set(this.at);
    this.playing = false;
  }
  setRate(r: number): void {
    this.set(this.at);
    this.rate = r;
  }
}

export const RATES = [0.25, 0.5, 1, 2, 4, 8, 16] as const;

export function stepRate(r: number, by: 1 | -1): number {
  const i = RATES.findIndex((x) => x >= r);
  return RATES[Math.min(RATES.length - 1, Math.max(0, (i < 0 ? RATES.length - 1 : i) + by))]!;
}

export type Correction = { seek: true } | { seek: false; rate: number };

/**
 * correct brings one tile to the master: diffMs is tile minus master. Small
 * errors are trimmed by speed, at most 30 %; beyond half a second of wall time
 * at speed one (more at higher speeds, where frames are further apart) it seeks.
 */
export function correct(diffMs: number, rate: number): Correction {
  const limit = 500 * Math.max(1, rate / 2);
  if (Math.abs(diffMs) > limit) return { seek: true };
  // What is wrong is gone after about 400 ms of real time.
  const err = diffMs / Math.max(rate, 0.25) / 400;
  if (Math.abs(diffMs) < 12 * Math.max(1, rate)) return { seek: false, rate };
  const trim = Math.max(-0.3, Math.min(0.3, -err));
  return { seek: false, rate: Math.min(16, Math.max(0.0625, rate * (1 + trim))) };
}
