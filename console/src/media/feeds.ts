// Live feeds: each is one way of getting moving pictures into one element.
// A feed says when it has shown a frame and when it has failed; who uses it
// decides what follows.

import { problemOf, url } from '../api/client';
import type { Quality } from '../api/types';
import { decodeTime, tracks, type Track } from './boxes';
import { pictures } from './picture';
import { socket } from './socket';

export interface FeedEvents {
  /** a frame was presented; wall is its time, ms, or 0 where not known */
  frame(wall: number): void;
  fail(reason: string, advice: string): void;
}

export interface Feed {
  readonly el: HTMLVideoElement | HTMLCanvasElement;
  readonly transport: 'webrtc' | 'mse' | 'stills';
  readonly audio: boolean;
  close(): void;
}

export function newVideo(): HTMLVideoElement {
  const v = document.createElement('video');
  v.muted = true;
  v.playsInline = true;
  v.disablePictureInPicture = true;
  v.setAttribute('aria-hidden', 'true');
  v.tabIndex = -1;
  return v;
}

/** onFrames calls f for each presented frame until the returned stop. */
export function onFrames(v: HTMLVideoElement, f: (mediaTime: number) => void): () => void {
  let on = true;
  let id = 0;
  const step = (_: number, m: VideoFrameCallbackMetadata): void => {
    if (!on) return;
    f(m.mediaTime);
    id = v.requestVideoFrameCallback(step);
  };
  id = v.requestVideoFrameCallback(step);
  return () => {
    on = false;
    v.cancelVideoFrameCallback(id);
  };
}

/** webrtcFeed: WHEP (RFC 9725). We do not wait for candidates: the server is ICE-lite and learns us from the first check. */
export function webrtcFeed(camera: string, quality: Quality, audio: boolean, now: () => number, ev: FeedEvents): Feed {
  const v = newVideo();
  const pc = new RTCPeerConnection();
  const ctl = new AbortController();
  let resource = '';
  let closed = false;
  let lost: ReturnType<typeof setTimeout> | undefined;
  const stop = onFrames(v, () => ev.frame(now()));
  const fail = (why: string, advice = ''): void => {
    if (!closed) ev.fail(why, advice);
  };
  const ms = new MediaStream();
  pc.addTransceiver('video', { direction: 'recvonly' });
  if (audio) pc.addTransceiver('audio', { direction: 'recvonly' });
  pc.ontrack = (e) => {
    if ('jitterBufferTarget' in e.receiver) e.receiver.jitterBufferTarget = 0;
    ms.addTrack(e.track);
    if (v.srcObject !== ms) v.srcObject = ms;
    void v.play().catch(() => {});
  };
  pc.onconnectionstatechange = () => {
    clearTimeout(lost);
    if (pc.connectionState === 'failed') fail('The way for the picture broke.');
    if (pc.connectionState === 'disconnected') lost = setTimeout(() => fail('The way for the picture broke.'), 2000);
    if (pc.connectionState === 'closed') fail('The server ended the picture.');
  };
  void (async () => {
    try {
      await pc.setLocalDescription(await pc.createOffer());
      const r = await fetch(url(`/cameras/${camera}/whep`, { quality }), {
        method: 'POST',
        credentials: 'same-origin',
        headers: { 'Content-Type': 'application/sdp' },
        body: pc.localDescription!.sdp,
        signal: ctl.signal,
      });
      if (!r.ok) {
        const p = await problemOf(r);
        return fail(p.message, p.detail);
      }
      resource = r.headers.get('Location') ?? '';
      const sdp = await r.text();
      if (closed) return drop();
      await pc.setRemoteDescription({ type: 'answer', sdp });
    } catch (e) {
      if (!closed) fail(e instanceof Error ? e.message : 'WebRTC could not be started.');
    }
  })();
  // The server is told first: a connection that just goes away would be over
  // there before our word comes.
  function drop(): void {
    const r = resource;
    resource = '';
    if (!r) return pc.close();
    void fetch(r, { method: 'DELETE', credentials: 'same-origin', keepalive: true })
      .catch(() => {})
      .finally(() => pc.close());
  }
  return {
    el: v,
    transport: 'webrtc',
    audio,
    close() {
      if (closed) return;
      closed = true;
      clearTimeout(lost);
      stop();
      ctl.abort();
      v.srcObject = null;
      drop();
    },
  };
}

/** How far behind the newest fragment we aim to stand, and where we jump. */
const TARGET = 0.12;
const JUMP = 1.2;
const QUEUE_MAX = 600;

/** mseFeed: fragments from the WebSocket into a source buffer. */
export function mseFeed(camera: string, quality: Quality, audio: boolean, ev: FeedEvents): Feed {
  const v = newVideo();
  const ms = new MediaSource();
  const src = URL.createObjectURL(ms);
  let sb: SourceBuffer | undefined;
  let mime = '';
  let track: Track | undefined;
  let closed = false;
  let shift = 0; // seconds added to decode times after a new run
  let needShift = false;
  let wallOff = NaN; // wall ms minus media ms
  const queue: { bytes: Uint8Array; init: boolean; wall: number }[] = [];
  const fail = (why: string, advice = ''): void => {
    if (!closed) ev.fail(why, advice);
  };
  const stop = onFrames(v, (t) => ev.frame(Number.isNaN(wallOff) ? 0 : wallOff + t * 1000));

  function pump(): void {
    if (closed || ms.readyState !== 'open') return;
    if (!sb) {
      if (!mime) return;
      try {
        sb = ms.addSourceBuffer(mime);
      } catch {
        return fail(`This browser cannot play ${mime}.`);
      }
      sb.addEventListener('updateend', () => {
        chase();
        pump();
      });
      sb.addEventListener('error', () => fail('The browser could not read the stream.'));
    }
    if (sb.updating) return;
    const q = queue[0];
    if (!q) return;
    try {
      if (q.init) {
        track = tracks(q.bytes).find((t) => t.kind === 'video');
        if (v.buffered.length) {
          sb.changeType(mime);
          needShift = true;
        }
      } else if (track) {
        const dt = decodeTime(q.bytes, track.id);
        if (dt !== undefined) {
          const t = dt / track.timescale;
          if (needShift) {
            const end = v.buffered.length ? v.buffered.end(v.buffered.length - 1) : 0;
            shift = end + 0.02 - t;
            sb.timestampOffset = shift;
            needShift = false;
          }
          wallOff = q.wall - (t + shift) * 1000;
        }
      }
      sb.appendBuffer(q.bytes as Uint8Array<ArrayBuffer>);
      queue.shift();
    } catch (e) {
      if ((e as Error).name === 'QuotaExceededError') trim(2);
      else fail('The browser could not read the stream.');
    }
  }

  function trim(keep: number): void {
    if (!sb || sb.updating || !v.buffered.length) return;
    const to = v.currentTime - keep;
    if (to > v.buffered.start(0) + 1) sb.remove(0, to);
  }

  // The player has no notion of "live": we hold it close to the newest frame.
  function chase(): void {
    const n = v.buffered.length;
    if (!n) return;
    const end = v.buffered.end(n - 1);
    const start = v.buffered.start(n - 1);
    const lag = end - v.currentTime;
    if (v.currentTime < start || lag > JUMP || lag < 0) v.currentTime = Math.max(start, end - TARGET);
    v.playbackRate = lag > 0.6 ? 1.3 : lag > 0.3 ? 1.1 : 1;
    if (v.paused) void v.play().catch(() => {});
    if (v.currentTime - v.buffered.start(0) > 12) trim(4);
  }

  ms.addEventListener('sourceopen', pump);
  v.src = src;
  const off = socket.open(camera, quality, audio, {
    init(w) {
      mime = w.mime;
    },
    data(kind, _key, wall, bytes) {
      if (queue.length > QUEUE_MAX) {
        queue.length = 0;
        return fail('This browser cannot keep up with the stream.');
      }
      queue.push({ bytes, init: kind === 'init', wall });
      pump();
    },
    end() {},
    fail,
    lost() {},
  });
  return {
    el: v,
    transport: 'mse',
    audio,
    close() {
      if (closed) return;
      closed = true;
      stop();
      off();
      queue.length = 0;
      v.removeAttribute('src');
      v.load();
      URL.revokeObjectURL(src);
    },
  };
}

/** stillsFeed: one key picture a second, for browsers that can do no better. */
export function stillsFeed(camera: string, quality: Quality, now: () => number, ev: FeedEvents): Feed {
  const c = document.createElement('canvas');
  let closed = false;
  let last = 0;
  let misses = 0;
  let timer: ReturnType<typeof setTimeout>;
  const tick = async (): Promise<void> => {
    if (closed) return;
    try {
      const p = await pictures.at(camera, now(), quality);
      if (closed) return;
      misses = 0;
      if (p.at !== last) {
        last = p.at;
        paint(c, p.bitmap);
        ev.frame(p.at);
      }
    } catch (e) {
      if (++misses >= 3 && !closed) return ev.fail(e instanceof Error ? e.message : 'No picture came.', '');
    }
    timer = setTimeout(() => void tick(), 1000);
  };
  timer = setTimeout(() => void tick(), 0);
  return {
    el: c,
    transport: 'stills',
    audio: false,
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

/** paint draws a picture over the whole of a canvas. */
export function paint(c: HTMLCanvasElement, src: ImageBitmap | HTMLVideoElement | HTMLCanvasElement): boolean {
  const w = src instanceof HTMLVideoElement ? src.videoWidth : src.width;
  const h = src instanceof HTMLVideoElement ? src.videoHeight : src.height;
  if (!w || !h) return false;
  if (c.width !== w) c.width = w;
  if (c.height !== h) c.height = h;
  c.getContext('2d')!.drawImage(src, 0, 0, w, h);
  return true;
}
