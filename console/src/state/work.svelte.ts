// The workspace: live and recorded are one. It owns the master clock, knows
// which tiles are shown, and keeps recorded tiles in step.

import { untrack } from 'svelte';
import type { Camera } from '../api/types';
import type { Engine } from '../media/engine';
import { correct, MasterClock, stepRate } from '../pure/clock';
import { holeAt, jump, laneWords, nextStart, prevEnd, recordedAt } from '../pure/lane';
import { follow, keepIn, type View } from '../pure/timeline';
import type { Layout } from '../pure/url';
import { hms, sentence } from '../pure/words';
import { cameras, now, say } from './app.svelte';
import { laneOf, want } from './lanes.svelte';

export type WorkMode = 'live' | 'play' | 'scrub';

const HOUR = 3_600_000;
const REST_MS = 90;

class Work {
  mode = $state<WorkMode>('live');
  playing = $state(false);
  rate = $state(1);
  /** the playhead, for drawing: ms */
  t = $state(Date.now());
  view = $state<View>(follow({ a: 0, b: 2 * HOUR }, Date.now()));
  /** whether the view moves with the playhead */
  following = $state(true);
  layout = $state<Layout>('auto');
  hero = $state('');
  muted = $state(true);
  full = $state('');
  /** waiting for tiles to have pictures */
  buffering = $state(false);

  private clock = new MasterClock(() => performance.now());
  private tiles = new Map<string, Engine>();
  private raf = 0;
  private lastBeat = 0;
  private lastDraw = 0;
  private lastWant = 0;
  private lastJump = 0;
  private holdSince = 0;
  private lastSeek = new WeakMap<Engine, number>();
  /** since when a tile has had no picture to show */
  private since = new Map<Engine, number>();
  private fitted = false;
  /** what each tile does when the hand rests while scrubbing */
  private rest = new Map<Engine, (t: number) => void>();
  private resting_: ReturnType<typeof setTimeout> | undefined;

  get at(): number {
    return this.mode === 'live' ? now() : this.clock.at;
  }

  /** shown lists the cameras on the wall, in the order of their numbers. */
  get shown(): Camera[] {
    const list = cameras.list;
    const n = this.layout === 'auto' ? list.length : Number(this.layout);
    if (list.length <= n) return list;
    const head = list.slice(0, n);
    const hero = list.find((c) => c.id === this.hero);
    return hero && !head.includes(hero) ? (n === 1 ? [hero] : [...head.slice(0, n - 1), hero]) : n === 1 && hero ? [hero] : head;
  }

  get heroCamera(): Camera | undefined {
    return this.shown.find((c) => c.id === this.hero) ?? this.shown[0];
  }

  register(id: string, e: Engine): () => void {
    this.tiles.set(id, e);
    return () => {
      this.since.delete(e);
      if (this.tiles.get(id) === e) this.tiles.delete(id);
    };
  }

  engine(id: string): Engine | undefined {
    return this.tiles.get(id);
  }

  start(): () => void {
    const step = (ts: number): void => {
      this.raf = requestAnimationFrame(step);
      this.frame(ts);
    };
    this.raf = requestAnimationFrame(step);
    return () => cancelAnimationFrame(this.raf);
  }

  // ---- what a person does

  live(): void {
    this.mode = 'live';
    this.playing = false;
    this.buffering = false;
    this.rate = 1;
    this.clock.pause();
    this.clock.setRate(1);
    this.following = true;
    this.view = follow(this.view, now());
    this.t = now();
  }

  /** scrub: the playhead is under the hand. */
  scrub(t: number): void {
    const x = Math.min(t, now());
    this.clock.pause();
    this.clock.set(x);
    this.mode = 'scrub';
    this.t = x;
    for (const e of this.tiles.values()) e.scrub(x);
    // A hand that rests is about to let go: what it would play is made ready.
    clearTimeout(this.resting_);
    this.resting_ = setTimeout(() => {
      if (this.mode === 'scrub') for (const f of this.rest.values()) f(this.clock.at);
    }, REST_MS);
  }

  /** resting tells a tile's way to get ready while scrubbing; call what it returns when that is over. */
  resting(e: Engine, f: (t: number) => void): () => void {
    this.rest.set(e, f);
    return () => {
      if (this.rest.get(e) === f) this.rest.delete(e);
    };
  }

  /** release: play, or stand, from where the hand let go. */
  release(play = true): void {
    this.playFrom(this.clock.at, play);
  }

  playFrom(t: number, play = true): void {
    const edge = now();
    if (t > edge - 1500) return this.live();
    this.clock.pause();
    this.clock.set(t);
    this.t = t;
    const was = this.mode;
    this.mode = 'play';
    this.playing = play;
    this.buffering = true;
    this.holdSince = performance.now();
    this.view = keepIn(this.view, t);
    this.following = true;
    // From live or scrubbing each tile takes up its player by itself.
    if (was !== 'play') return;
    for (const e of this.tiles.values()) {
      e.recorded?.pause();
      e.recorded?.seek(t);
    }
  }

  toggle(): void {
    if (this.mode === 'live') return this.playFrom(now() - 10_000, false);
    if (this.mode === 'scrub') return;
    this.playing = !this.playing;
    if (!this.playing) {
      this.clock.pause();
      for (const e of this.tiles.values()) e.recorded?.pause();
    } else {
      this.buffering = true;
      this.holdSince = performance.now();
    }
  }

  skip(ms: number): void {
    if (this.mode === 'live' && ms > 0) return;
    const from = this.at;
    const to = from + ms;
    if (to >= now() - 1500) return this.live();
    this.playFrom(to, this.mode === 'live' ? true : this.playing);
  }

  /** frames steps the hero by n pictures and stands. */
  frames(n: number): void {
    if (this.mode === 'live') return this.playFrom(now() - 10_000, false);
    const fps = this.heroCamera?.status.streams?.find((s) => s.quality === 'main')?.fps || 25;
    const e = this.tiles.get(this.heroCamera?.id ?? '');
    // From the picture that is shown, to the middle of the one wanted: a measured rate is never exact.
    const base = (e?.recorded && !this.playing && e.recorded.wall) || this.clock.at;
    this.playing = false;
    this.clock.pause();
    const t = base + ((n + 0.5) * 1000) / fps;
    this.clock.set(t);
    this.t = t;
    this.mode = 'play';
    for (const x of this.tiles.values()) {
      x.recorded?.pause();
      x.recorded?.seek(t);
    }
  }

  setRate(r: number): void {
    if (this.mode === 'live') {
      if (r > 1) return;
      this.playFrom(now() - 5000);
    }
    this.rate = r;
    this.clock.setRate(r);
    for (const e of this.tiles.values()) e.recorded?.setRate(r);
  }

  faster(by: 1 | -1): void {
    this.setRate(stepRate(this.rate, by));
  }

  /** edge goes to the next or previous place where recording begins. */
  edge(by: 1 | -1): void {
    const t = this.at;
    const ls = this.shown.map((c) => laneOf(c.id));
    let best: number | undefined;
    for (const l of ls)
      for (const s of l.spans) {
        if (by > 0 && s.a > t + 1000) best = Math.min(best ?? Infinity, s.a);
        if (by < 0 && s.a < t - 3000) best = Math.max(best ?? -Infinity, s.a);
      }
    if (best === undefined) {
      if (by > 0) this.live();
      else say('Nothing earlier is recorded in the stretch shown. Zoom out to see more.');
      return;
    }
    this.playFrom(best + 1, this.mode !== 'play' || this.playing);
  }

  select(id: string): void {
    this.hero = id;
  }

  // ---- what happens by itself

  /** joined: a tile has got its player, which now takes its place. */
  joined(e: Engine): void {
    if (!this.playing) return;
    e.recorded?.setRate(this.rate);
  }

  private frame(ts: number): void {
    if (ts - this.lastDraw > 60) {
      this.lastDraw = ts;
      this.draw();
    }
    if (this.mode === 'play' && ts - this.lastBeat > (this.buffering ? 30 : 120)) {
      this.lastBeat = ts;
      this.beat(ts);
    }
    if (ts - this.lastWant > 1000) {
      this.lastWant = ts;
      untrack(() => {
        want(cameras.list, this.view);
        this.fitOnce();
      });
    }
  }

  // At first sight of a young archive the view is fitted to it, once.
  private fitOnce(): void {
    if (this.fitted) return;
    const ls = cameras.list.map((c) => laneOf(c.id)).filter((l) => l.b > l.a);
    if (!ls.length || ls.length < cameras.list.length) return;
    this.fitted = true;
    const first = Math.min(...ls.map((l) => l.spans[0]?.a ?? Infinity));
    const t = now();
    if (!Number.isFinite(first) || first < this.view.a + (this.view.b - this.view.a) * 0.3 || this.mode !== 'live') return;
    const span = Math.max(5 * 60_000, (t - first) * 1.4);
    this.view = follow({ a: 0, b: span }, t);
  }

  private draw(): void {
    const t = this.at;
    if (this.mode === 'live') {
      if (Math.abs(t - this.t) > 200) this.t = t;
      if (this.following) {
        const span = this.view.b - this.view.a;
        const v = follow(this.view, t);
        // Move the view by whole steps, not sixteen times a second.
        if (Math.abs(v.b - this.view.b) > span / 2000) this.view = v;
      }
      return;
    }
    if (t !== this.t) this.t = t;
    if (this.following && this.playing && this.mode === 'play') {
      const v = keepIn(this.view, t);
      if (v !== this.view) this.view = v;
    }
  }

  private beat(ts: number): void {
    const t = this.clock.at;
    if (this.playing && t > now() - 1200) {
      say('Caught up: this is live.', 'ok', 2500);
      return this.live();
    }
    const shown = this.shown;
    const players: Engine[] = [];
    let hold = false;
    for (const c of shown) {
      const e = this.tiles.get(c.id);
      if (!e?.recorded || e.mode !== 'play') continue;
      const lane = laneOf(c.id);
      const here = recordedAt(lane, t) || t > lane.b;
      if (!here) continue;
      if (e.failed) {
        e.follow(t);
        continue;
      }
      players.push(e);
      if (e.recorded.ready) this.since.delete(e);
      else {
        // While playing a tile may stumble for a moment without all waiting.
        const from = this.since.get(e) ?? ts;
        this.since.set(e, from);
        if (!this.clock.playing || ts - from > 350) hold = true;
      }
    }
    if (this.playing && this.leap(t, ts)) return;
    // Nobody waits longer than three seconds for the slowest.
    if (hold) {
      if (!this.holdSince) this.holdSince = ts;
      if (ts - this.holdSince > 3000) hold = false;
    } else this.holdSince = 0;
    if (this.buffering !== hold) this.buffering = hold;

    if (!this.playing) {
      for (const e of this.tiles.values()) if (e.recorded && !e.recorded.el.paused) e.recorded.pause();
      return;
    }
    if (hold) {
      this.clock.pause();
      // Who has arrived waits at the line; who has not may load.
      for (const e of players) {
        const r = e.recorded!;
        if (Math.abs(r.now - t) > 60 && r.ready && ts - (this.lastSeek.get(e) ?? 0) > 700) {
          this.lastSeek.set(e, ts);
          r.seek(t);
        }
        r.pause();
      }
      return;
    }
    if (!this.clock.playing) this.clock.play();
    const at = this.clock.at;
    for (const e of players) {
      const r = e.recorded!;
      r.play();
      if (r.seeking) continue;
      const fix = correct(r.now - at, this.rate);
      if (fix.seek) {
        if (ts - (this.lastSeek.get(e) ?? 0) < 900) continue;
        this.lastSeek.set(e, ts);
        r.seek(at + 60 * this.rate);
      } else r.setRate(fix.rate);
    }
  }

  private leap(t: number, ts: number): boolean {
    if (ts - this.lastJump < 600) return false;
    const ls = this.shown.map((c) => laneOf(c.id));
    if (!ls.length || ls.some((l) => t < l.a || t >= l.b)) return false;
    const j = jump(ls, t);
    if (!j) {
      if (ls.every((l) => !recordedAt(l, t) && nextStart(l, t) === undefined)) {
        this.lastJump = ts;
        say(`Nothing later is recorded. ${laneWords(ls, t)} Back to live.`, 'info', 6000);
        this.live();
        return true;
      }
      return false;
    }
    this.lastJump = ts;
    say(`No recording from ${hms(t)} to ${hms(j.to)}. ${sentence(j.why)} Playing on from ${hms(j.to)}.`, 'info', 6000);
    this.playFrom(j.to + 1);
    return true;
  }

  /** why a camera has no picture at t, in words; empty where it has. */
  whyNot(id: string, t: number): { cause: string; message: string } | undefined {
    const l = laneOf(id);
    if (t < l.a || t >= l.b || recordedAt(l, t)) return undefined;
    const h = holeAt(l, t);
    if (h) return { cause: h.cause, message: h.message };
    return { cause: 'unknown', message: prevEnd(l, t) === undefined ? 'Nothing was recorded yet' : '' };
  }
}

export const work = new Work();
