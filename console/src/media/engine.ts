// One tile's pictures. The engine owns the elements in its stage and always
// leaves the last frame standing: what comes next stands behind it until it
// has a frame of its own, then takes its place.

import type { Quality, Stream } from '../api/types';
import { backoff, RACE_MS, rungs, type Memory, type Rung } from '../pure/ladder';
import { mseFeed, paint, stillsFeed, webrtcFeed, type Feed, type FeedEvents } from './feeds';
import { Follower, pictures, type Picture } from './picture';
import { Recorded } from './recorded';

export type Mode = 'idle' | 'live' | 'scrub' | 'play';

/** What a tile shows, for its badges. Changes at most a few times a second. */
export interface Show {
  /** moving: frames come; waiting: not yet, or no longer */
  state: 'idle' | 'waiting' | 'moving' | 'still';
  transport: string;
  /** why no frame comes, in words; empty while nothing is wrong */
  reason: string;
  advice: string;
  fps: number;
  /** wall time of the newest frame shown, ms; 0: none yet */
  wall: number;
  audio: boolean;
  ratio: number;
}

export interface LiveTarget {
  camera: string;
  quality: Quality;
  stream: Stream | undefined;
  audio: boolean;
  /** whether the camera itself is up: no use in trying otherwise */
  up: boolean;
}

const can = {
  webrtc: typeof RTCPeerConnection !== 'undefined',
  mse: (codecs: string) => typeof MediaSource !== 'undefined' && MediaSource.isTypeSupported(`video/mp4; codecs="${codecs}"`),
};
const STALL_MS = 4000;

/** playable tells whether this browser can move these pictures at all. */
export function playable(s: Stream | undefined): boolean {
  if (!s?.codecs) return true;
  return can.mse(s.codecs.split(',')[0]!.trim());
}

const memKey = (camera: string, q: Quality): string => `bartizan.rung.${camera}.${q}`;
function recall(camera: string, q: Quality): Memory | undefined {
  try {
    return JSON.parse(localStorage.getItem(memKey(camera, q)) ?? 'null') ?? undefined;
  } catch {
    return undefined;
  }
}
function remember(camera: string, q: Quality, rung: Rung): void {
  try {
    if (rung === 'webrtc') localStorage.removeItem(memKey(camera, q));
    else localStorage.setItem(memKey(camera, q), JSON.stringify({ rung, at: Date.now() }));
  } catch {
    // A browser without storage remembers nothing; that is all.
  }
}

export class Engine {
  mode: Mode = 'idle';
  recorded: Recorded | undefined;
  private recordedKey = '';
  /** players replaced by one that has no frame yet */
  private stale: Recorded[] = [];
  private active: Feed | undefined;
  private contenders = new Set<Feed>();
  private timers = new Set<ReturnType<typeof setTimeout>>();
  private target: LiveTarget | undefined;
  private tries = 0;
  private lastFrame = 0;
  private frames = 0;
  private framesThen = 0;
  private thenAt = 0;
  private beat: ReturnType<typeof setInterval>;
  private follower: Follower;
  private show: Show = { state: 'idle', transport: '', reason: '', advice: '', fps: 0, wall: 0, audio: false, ratio: 16 / 9 };
  private closed = false;
  /** the recorded player has said that it cannot go on */
  failed = false;
  private muted = true;
  private frontEl: HTMLElement | undefined;

  constructor(
    private readonly camera: string,
    private readonly root: HTMLElement,
    private readonly stage: HTMLElement,
    private readonly still: HTMLCanvasElement,
    private readonly now: () => number,
    private readonly subQuality: () => Quality,
    private readonly changed: (s: Show) => void,
  ) {
    this.follower = new Follower(
      camera,
      subQuality,
      (p) => this.picture(p),
      () => {},
    );
    this.beat = setInterval(() => this.pulse(), 1000);
  }

  // ---- live

  live(t: LiveTarget): void {
    const old = this.target;
    const same = this.mode === 'live' && old && old.camera === t.camera && old.quality === t.quality && old.audio === t.audio && old.up === t.up;
    this.target = t;
    if (same && (this.active || this.contenders.size || this.timers.size)) return;
    if (this.mode !== 'live') this.tries = 0;
    this.mode = 'live';
    this.root.dataset.mode = 'live';
    this.follower.stop();
    this.parkRecorded();
    if (old && !old.up && t.up) this.tries = 0;
    this.begin();
  }

  private begin(): void {
    this.clearTimers();
    this.dropContenders();
    const t = this.target;
    if (!t || this.closed) return;
    if (!t.up) {
      this.hold();
      this.closeActive();
      this.say({ state: 'still', transport: '', fps: 0 });
      if (!this.show.wall) void this.lastPicture();
      return;
    }
    const list = rungs(t.stream, can, recall(t.camera, t.quality), Date.now(), t.audio ? t.stream?.audio : '');
    this.say({ state: this.active ? 'moving' : 'waiting' });
    let next = 0;
    let live = 0;
    let lastWhy = '';
    let lastAdvice = '';
    const climb = (): void => {
      if (next >= list.length) {
        if (live > 0) return;
        if (!playable(t.stream)) this.again(`This browser cannot play ${t.stream?.video || 'this video'}.`, 'Give the camera a second stream in H.264 under Cameras, or use a browser that plays it. It is recorded all the same.');
        else this.again(lastWhy, lastAdvice);
        return;
      }
      const rung = list[next++]!;
      live++;
      let feed: Feed | undefined;
      let over = false;
      let retry: ReturnType<typeof setTimeout> | undefined;
      const ev: FeedEvents = {
        frame: (wall) => {
          if (!feed) return;
          if (feed !== this.active) {
            if (!this.contenders.has(feed)) return;
            this.win(feed, t, rung);
          }
          this.frame(wall);
        },
        fail: (why, advice) => {
          if (over) return;
          over = true;
          live--;
          lastWhy = why;
          lastAdvice = advice;
          this.cancel(retry);
          if (feed && feed === this.active) {
            this.hold();
            this.closeActive();
            this.again(why, advice);
            return;
          }
          if (!feed || !this.contenders.delete(feed)) return;
          feed.close();
          feed.el.remove();
          climb();
        },
      };
      feed = this.start(rung, t, ev);
      this.contenders.add(feed);
      this.place(feed.el, false);
      if (next < list.length && list[next] !== 'stills') retry = this.later(RACE_MS, () => !over && this.contenders.has(feed!) && climb());
      else if (next < list.length) retry = this.later(6000, () => !over && this.contenders.has(feed!) && climb());
    };
    climb();
    this.later(2500, () => {
      if (!this.show.wall && this.mode === 'live') void this.lastPicture();
    });
  }

  private start(rung: Rung, t: LiveTarget, ev: FeedEvents): Feed {
    if (rung === 'webrtc') return webrtcFeed(t.camera, t.quality, t.audio, this.now, ev);
    if (rung === 'mse') return mseFeed(t.camera, t.quality, t.audio, ev);
    return stillsFeed(t.camera, this.subQuality(), this.now, ev);
  }

  private win(feed: Feed, t: LiveTarget, rung: Rung): void {
    this.contenders.delete(feed);
    this.clearTimers();
    const old = this.active;
    this.active = feed;
    this.dropContenders();
    this.front(feed.el);
    if (old) {
      old.close();
      old.el.remove();
    }
    this.closeRecorded();
    if (feed.el instanceof HTMLVideoElement) feed.el.muted = this.muted;
    this.tries = 0;
    if (!t.audio) remember(t.camera, t.quality, rung);
    this.say({ state: 'moving', transport: rung, reason: '', advice: '', audio: feed.audio });
  }

  private again(why: string, advice: string): void {
    if (this.closed || this.mode !== 'live') return;
    this.say({ state: this.show.wall ? 'still' : 'waiting', reason: why, advice, fps: 0 });
    const ms = backoff(this.tries++, Math.random());
    this.later(ms, () => this.mode === 'live' && this.begin());
  }

  // The last picture stored, for a tile whose camera is down since before we came.
  private async lastPicture(): Promise<void> {
    try {
      const p = await pictures.at(this.camera, this.now(), this.subQuality());
      if (this.closed || this.show.wall || this.mode !== 'live') return;
      paint(this.still, p.bitmap);
      this.still.hidden = false;
      this.say({ wall: p.at, state: this.show.state === 'waiting' ? 'waiting' : 'still', ratio: p.bitmap.width / p.bitmap.height });
    } catch {
      // Nothing was ever recorded: the tile says so in words.
    }
  }

  // ---- recorded

  /** play puts the recorded picture of wall in place; the master moves it on. */
  play(camera: string, quality: Quality, audio: boolean, wall: number): Recorded {
    this.mode = 'play';
    this.root.dataset.mode = 'play';
    this.follower.stop();
    const r = this.player(camera, quality, audio);
    this.dropContenders();
    this.clearTimers();
    this.failed = false;
    // Made ready while the hand rested: its frame is there already.
    const there = r.frames > 0 && r.ready && Math.abs(r.now - wall) < 1;
    if (there) this.shown(r, r.wall, audio);
    else r.seek(wall);
    return r;
  }

  /** ready loads what play would show at wall, behind the scrubbed picture. */
  ready(camera: string, quality: Quality, audio: boolean, wall: number): void {
    if (this.mode !== 'scrub') return;
    this.player(camera, quality, audio).seek(wall);
  }

  private player(camera: string, quality: Quality, audio: boolean): Recorded {
    const key = `${camera}/${quality}/${audio}`;
    if (!this.recorded || this.recordedKey !== key) {
      if (this.recorded) {
        this.recorded.pause();
        this.stale.push(this.recorded);
      }
      this.recordedKey = key;
      const r = new Recorded(camera, quality, audio, this.now, {
        frame: (w) => {
          if (this.recorded === r && this.mode === 'play') this.shown(r, w, audio);
        },
        fail: (reason, advice, final) => {
          if (this.recorded !== r) return;
          this.failed = final;
          this.say({ reason, advice, state: 'still' });
        },
      });
      this.recorded = r;
      r.el.muted = this.muted;
      this.place(r.el, false);
    }
    return this.recorded;
  }

  // A recorded frame stands in the player: it takes the tile.
  private shown(r: Recorded, wall: number, audio: boolean): void {
    if (this.frontEl !== r.el || !this.still.hidden) this.front(r.el);
    if (this.active || this.contenders.size) this.dropLive();
    this.dropStale();
    this.failed = false;
    if (this.show.state !== 'moving' || this.show.transport !== 'mse' || this.show.reason) this.say({ state: 'moving', transport: 'mse', reason: '', advice: '', audio });
    this.frame(wall);
  }

  /** scrub shows the key picture of an instant over everything else. */
  scrub(wall: number): void {
    if (this.mode !== 'scrub') {
      this.mode = 'scrub';
      this.root.dataset.mode = 'scrub';
      this.hold();
      this.dropLive();
      this.recorded?.pause();
      this.say({ state: 'still', transport: 'pictures', reason: '', advice: '', fps: 0 });
    }
    this.follower.follow(wall);
  }

  /** follow shows key pictures while playing what this browser cannot play. */
  follow(wall: number): void {
    if (this.mode === 'play') this.follower.follow(wall);
  }

  private picture(p: Picture): void {
    if (this.mode !== 'scrub' && this.mode !== 'play') return;
    if (this.mode === 'play' && this.frontEl === this.recorded?.el && this.still.hidden) return;
    paint(this.still, p.bitmap);
    this.still.hidden = false;
    this.mark(p.at);
    this.show = { ...this.show, wall: p.at, ratio: p.bitmap.width / p.bitmap.height };
  }

  // ---- common

  setMuted(m: boolean): void {
    this.muted = m;
    if (this.active?.el instanceof HTMLVideoElement) this.active.el.muted = m;
    if (this.recorded) this.recorded.el.muted = m;
  }

  idle(): void {
    if (this.mode === 'idle') return;
    this.mode = 'idle';
    this.root.dataset.mode = 'idle';
    this.hold();
    this.dropLive();
    this.closeRecorded();
    this.target = undefined;
    this.say({ state: 'idle', fps: 0, transport: '' });
  }

  close(): void {
    this.closed = true;
    clearInterval(this.beat);
    this.follower.close();
    this.dropLive();
    this.closeRecorded();
  }

  /** snapshot draws what the tile shows now; false where there is nothing. */
  snapshot(c: HTMLCanvasElement): boolean {
    if (!this.still.hidden) return paint(c, this.still);
    const el = this.frontEl;
    if (el instanceof HTMLVideoElement || el instanceof HTMLCanvasElement) return paint(c, el);
    return false;
  }

  private frame(wall: number): void {
    this.frames++;
    this.lastFrame = performance.now();
    this.mark(wall);
    this.show.wall = wall;
    const v = this.frontEl;
    if (v instanceof HTMLVideoElement && v.videoWidth) {
      const r = v.videoWidth / v.videoHeight;
      if (Math.abs(r - this.show.ratio) > 0.01) this.say({ ratio: r });
    }
  }

  private mark(wall: number): void {
    this.root.dataset.wallMs = wall ? wall.toFixed(1) : '';
    this.root.dataset.frames = String(this.frames);
  }

  private pulse(): void {
    const t = performance.now();
    const n = this.frames - this.framesThen;
    const rate = this.thenAt ? Math.round((n * 1000) / (t - this.thenAt)) : 0;
    this.framesThen = this.frames;
    this.thenAt = t;
    if (this.mode === 'live' && this.active && t - this.lastFrame > (this.active.transport === 'stills' ? 5 : 1) * STALL_MS) {
      if (this.contenders.size || this.timers.size) return;
      this.hold();
      this.closeActive();
      this.again('The picture stands still: nothing has come for some seconds.', '');
      return;
    }
    if (rate !== this.show.fps && this.mode !== 'scrub') this.say({ fps: rate });
    else this.changed(this.show);
  }

  private say(s: Partial<Show>): void {
    if (this.closed) return;
    this.show = { ...this.show, ...s };
    this.changed(this.show);
  }

  // hold keeps what is shown now on the canvas above all.
  private hold(): void {
    const el = this.frontEl;
    if ((el instanceof HTMLVideoElement || el instanceof HTMLCanvasElement) && this.still.hidden && paint(this.still, el)) this.still.hidden = false;
  }

  private place(el: HTMLElement, front: boolean): void {
    el.classList.add('pic');
    el.classList.toggle('front', front);
    if (!el.isConnected) this.stage.append(el);
  }

  private front(el: HTMLElement): void {
    this.place(el, true);
    for (const o of this.stage.children) if (o !== el) o.classList.remove('front');
    this.frontEl = el;
    this.still.hidden = true;
  }

  private closeActive(): void {
    this.active?.close();
    this.active?.el.remove();
    this.active = undefined;
  }

  private dropContenders(): void {
    for (const f of this.contenders) {
      f.close();
      f.el.remove();
    }
    this.contenders.clear();
  }

  private dropLive(): void {
    this.clearTimers();
    this.dropContenders();
    this.closeActive();
  }

  private parkRecorded(): void {
    this.recorded?.pause();
    this.hold();
    this.closeRecorded();
  }

  private dropStale(): void {
    for (const r of this.stale.splice(0)) {
      r.close();
      r.el.remove();
    }
  }

  private closeRecorded(): void {
    this.dropStale();
    if (!this.recorded) return;
    this.recorded.close();
    this.recorded.el.remove();
    this.recorded = undefined;
    this.recordedKey = '';
  }

  private later(ms: number, f: () => void): ReturnType<typeof setTimeout> {
    const id = setTimeout(() => {
      this.timers.delete(id);
      f();
    }, ms);
    this.timers.add(id);
    return id;
  }

  private cancel(id: ReturnType<typeof setTimeout> | undefined): void {
    if (id === undefined) return;
    clearTimeout(id);
    this.timers.delete(id);
  }

  private clearTimers(): void {
    for (const id of this.timers) clearTimeout(id);
    this.timers.clear();
  }
}
