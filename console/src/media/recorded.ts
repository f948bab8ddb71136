// Recorded video in one element: ranges of video.mp4 are cut into fragments as
// they stream in and put into Media Source, a window ahead of the playhead.
// Media time is wall time less ORIGIN, so that a hole stays a hole.

import { media, url } from '../api/client';
import type { Quality } from '../api/types';
import { Cutter, decodeTime, tracks, type Track } from './boxes';
import { newVideo, onFrames } from './feeds';

export interface RecordedEvents {
  frame(wall: number): void;
  /** what stands in the way, in words; final: it does not try again by itself */
  fail(reason: string, advice: string, final: boolean): void;
}

const AHEAD = 20; // seconds of media kept before the playhead, at speed one
const BEHIND = 30;
const CHUNK = 120; // seconds of wall time asked at once, at speed one
const RANGE = 40 * 86_400_000;

export class Recorded {
  readonly el = newVideo();
  readonly transport = 'mse';
  /** presented wall time, ms */
  wall = 0;
  frames = 0;
  private ms = new MediaSource();
  private src = URL.createObjectURL(this.ms);
  private sb: SourceBuffer | undefined;
  private mime = '';
  private origin = 0;
  private ctl: AbortController | undefined;
  private gen = 0;
  private closed = false;
  private stopFrames: () => void;
  private wake: (() => void) | undefined;
  private opened: Promise<void>;
  private rate = 1;
  private playing = false;
  /** what the present run of loading covers: from where, and how far it got */
  private runFrom = 0;
  private head = 0;
  /** asked for, and not stood on yet: until then the element shows the old place */
  private bound = false;

  constructor(
    readonly camera: string,
    readonly quality: Quality,
    readonly audio: boolean,
    private readonly liveEdge: () => number,
    private readonly ev: RecordedEvents,
  ) {
    this.opened = new Promise((r) => this.ms.addEventListener('sourceopen', () => r(), { once: true }));
    this.el.src = this.src;
    this.el.preservesPitch = true;
    this.stopFrames = onFrames(this.el, (t) => {
      this.wall = this.origin + t * 1000;
      this.frames++;
      this.ev.frame(this.wall);
    });
  }

  /** now is the wall time of the playhead, between frames too. */
  get now(): number {
    return this.origin + this.el.currentTime * 1000;
  }

  /** ready: a frame can be shown at the playhead and more is there. */
  get ready(): boolean {
    return !this.seeking && this.el.readyState >= 3 && this.holds(this.now);
  }

  /** seeking: it is on its way, to load or to decode; asking again would only begin anew. */
  get seeking(): boolean {
    return this.bound || this.el.seeking;
  }

  holds(wall: number): boolean {
    if (!this.origin) return false;
    const t = (wall - this.origin) / 1000;
    const b = this.el.buffered;
    for (let i = 0; i < b.length; i++) if (t >= b.start(i) - 0.001 && t < b.end(i)) return true;
    return false;
  }

  private endOf(t: number): number {
    const b = this.el.buffered;
    for (let i = 0; i < b.length; i++) if (t >= b.start(i) - 0.05 && t <= b.end(i) + 0.05) return b.end(i);
    return t;
  }

  seek(wall: number): void {
    if (this.closed) return;
    if (this.holds(wall)) {
      const t = (wall - this.origin) / 1000;
      this.bound = false;
      this.el.currentTime = t;
      this.wake?.();
      // Buffered by an earlier run: go on loading where that one ended.
      if (wall < this.runFrom || wall > this.head) this.start(this.origin + this.endOf(t) * 1000, undefined);
      return;
    }
    if (!this.origin || Math.abs(wall - this.origin - RANGE / 2) > RANGE / 2 - 86_400_000) this.origin = Math.round(wall) - RANGE / 2;
    this.start(wall, wall);
  }

  private start(from: number, seekTo: number | undefined): void {
    this.ctl?.abort();
    this.ctl = new AbortController();
    this.wake?.();
    this.runFrom = this.head = from;
    this.bound = seekTo !== undefined;
    void this.run(from, seekTo, ++this.gen, this.ctl.signal);
  }

  play(): void {
    this.playing = true;
    if (this.el.paused) void this.el.play().catch(() => {});
  }

  pause(): void {
    this.playing = false;
    this.el.pause();
  }

  setRate(r: number): void {
    this.rate = Math.max(1, r);
    if (Math.abs(this.el.playbackRate - r) > 0.001) this.el.playbackRate = r;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.gen++;
    this.ctl?.abort();
    this.wake?.();
    this.stopFrames();
    this.el.pause();
    this.el.removeAttribute('src');
    this.el.load();
    URL.revokeObjectURL(this.src);
  }

  // One run of loading: from a seek until the next. gen tells an old one to end.
  private async run(from: number, seekTo: number | undefined, gen: number, signal: AbortSignal): Promise<void> {
    const gone = (): boolean => this.closed || gen !== this.gen;
    await this.opened;
    if (gone()) return;
    if (this.ms.duration !== RANGE / 1000) {
      try {
        this.ms.duration = RANGE / 1000;
      } catch {
        // Set once; a source that is updating keeps what it has.
      }
    }
    let at = from;
    let first = true;
    let tries = 0;
    while (!gone()) {
      const edge = this.liveEdge();
      if (at > edge - 500) {
        await this.pauseFor(500);
        continue;
      }
      const to = Math.min(edge, at + CHUNK * 1000 * this.rate);
      try {
        const end = await this.load(at, to, first ? seekTo : undefined, gen, signal);
        if (gone()) return;
        tries = 0;
        this.bound = false;
        // A range that gave nothing new is a hole: look on behind it.
        at = end > at + 20 ? end : to;
        first = false;
      } catch (e) {
        if (gone() || (e as Error).name === 'AbortError') return;
        this.bound = false;
        const p = e as { status?: number; message?: string; detail?: string };
        if (p.status === 404) {
          at = to;
          continue;
        }
        const final = ++tries > 5 || (!!p.status && p.status >= 400 && p.status < 500 && p.status !== 429);
        this.ev.fail(p.message ?? 'The recording could not be read.', p.detail ?? '', final);
        if (final) return;
        await this.pauseFor(500 * 2 ** tries);
      }
    }
  }

  /** load brings one range in and returns the wall time up to which it went. */
  private async load(at: number, to: number, seekTo: number | undefined, gen: number, signal: AbortSignal): Promise<number> {
    const gone = (): boolean => this.closed || gen !== this.gen;
    const r = await media(url(`/cameras/${this.camera}/video.mp4`, { from: new Date(at).toISOString(), to: new Date(to).toISOString(), quality: this.quality, audio: this.audio ? 'browser' : 'none' }), { signal });
    const zero = Date.parse(r.headers.get('Bartizan-From') ?? '');
    const last = Date.parse(r.headers.get('Bartizan-To') ?? '');
    const mime = r.headers.get('Content-Type') ?? '';
    if (!Number.isFinite(zero) || !r.body) throw new Error('The server did not say when the recording begins.');
    if (mime.includes('codecs') && !MediaSource.isTypeSupported(mime)) throw Object.assign(new Error('This browser cannot play this recording (' + mime.replace(/^.*codecs=/, '').replaceAll('"', '') + ').'), { status: 415, detail: 'Choose the H.264 stream of the camera, or another browser.' });
    await this.type(mime);
    if (gone()) return at;
    const body = r.body.getReader();
    const cut = new Cutter();
    let track: Track | undefined;
    let landed = seekTo === undefined;
    try {
      await this.settled();
      if (gone() || !this.sb) return at;
      this.sb.abort();
      this.sb.timestampOffset = (zero - this.origin) / 1000;
      if (!landed) this.el.currentTime = (Math.max(seekTo!, zero) - this.origin) / 1000;
      for (;;) {
        const { done, value } = await body.read();
        if (gone()) return at;
        if (done) break;
        for (const p of cut.push(value)) {
          if (p.kind === 'init') track = tracks(p.bytes).find((t) => t.kind === 'video');
          if (!(await this.append(p.bytes, gone))) return at;
          const dt = p.kind === 'fragment' && track ? decodeTime(p.bytes, track.id) : undefined;
          if (dt !== undefined) this.head = Math.max(this.head, zero + (dt / track!.timescale) * 1000);
          if (!landed && p.kind === 'fragment') this.bound = !(landed = this.land(Math.max(seekTo!, zero)));
        }
        while (!gone() && this.full()) await this.pauseFor(400);
      }
    } finally {
      if (gone()) void body.cancel().catch(() => {});
    }
    return Number.isFinite(last) ? last : to;
  }

  // A span that begins a little after the asked instant: stand on its first frame.
  private land(wall: number): boolean {
    if (this.holds(wall)) {
      if (this.playing) this.play();
      return true;
    }
    const b = this.el.buffered;
    const t = (wall - this.origin) / 1000;
    for (let i = 0; i < b.length; i++)
      if (b.start(i) > t && b.start(i) - t < 0.3) {
        this.el.currentTime = b.start(i);
        if (this.playing) this.play();
        return true;
      }
    return false;
  }

  private full(): boolean {
    const t = this.el.currentTime;
    return this.endOf(t) - t > AHEAD * Math.max(1, this.rate / 2);
  }

  private async type(mime: string): Promise<void> {
    if (!this.sb) {
      this.sb = this.ms.addSourceBuffer(mime);
      this.mime = mime;
    } else if (mime !== this.mime) {
      await this.settled();
      if (this.closed) return;
      this.sb.abort();
      this.sb.changeType(mime);
      this.mime = mime;
    }
  }

  private async settled(): Promise<void> {
    while (this.sb?.updating && !this.closed) await new Promise((r) => this.sb!.addEventListener('updateend', r, { once: true }));
  }

  private async append(b: Uint8Array, gone: () => boolean): Promise<boolean> {
    for (let i = 0; i < 3; i++) {
      await this.settled();
      if (gone() || !this.sb || this.ms.readyState !== 'open') return false;
      try {
        this.sb.appendBuffer(b as Uint8Array<ArrayBuffer>);
        await this.settled();
        await this.sweep();
        return !gone();
      } catch (e) {
        if ((e as Error).name !== 'QuotaExceededError') throw e;
        await this.sweep(true);
        if (gone()) return false;
      }
    }
    throw new Error('The browser has no room for this recording.');
  }

  // The buffer slides: what lies well behind the playhead goes; where the
  // browser is out of room, everything we do not need soon.
  private async sweep(hard = false): Promise<void> {
    const b = this.el.buffered;
    if (!b.length || !this.sb || this.sb.updating) return;
    const t = this.el.currentTime;
    const behind = hard ? 2 : BEHIND;
    if (t - b.start(0) > behind * (hard ? 1 : 2)) {
      this.sb.remove(b.start(0), t - behind);
      await this.settled();
    }
    const ahead = t + AHEAD * Math.max(1, this.rate / 2) + 10;
    if (hard && b.length && b.end(b.length - 1) > ahead) {
      this.sb.remove(ahead, b.end(b.length - 1) + 1);
      await this.settled();
    }
  }

  private pauseFor(ms: number): Promise<void> {
    return new Promise((r) => {
      const id = setTimeout(done, ms);
      const self = this;
      function done(): void {
        clearTimeout(id);
        if (self.wake === done) self.wake = undefined;
        r();
      }
      this.wake = done;
    });
  }
}
