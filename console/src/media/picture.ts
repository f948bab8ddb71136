// One key picture at an instant, for scrubbing, hovering and tiles without a
// stream: still.mp4 drawn by WebCodecs, still.jpg where the browser has no
// decoder for it. Pictures already drawn are kept (least recently used go).

import { media, url } from '../api/client';
import type { Quality } from '../api/types';
import { firstPicture } from './boxes';

export interface Picture {
  bitmap: ImageBitmap;
  /** wall time of the key picture, ms */
  at: number;
}

/** draw decodes one key picture. width limits the bitmap, 0: as it is. */
export async function decode(file: Uint8Array, width = 0): Promise<ImageBitmap> {
  const { track, data } = firstPicture(file);
  if (typeof VideoDecoder === 'undefined') throw new Error('This browser cannot decode single pictures.');
  const config: VideoDecoderConfig = { codec: track.codec, description: track.description as Uint8Array<ArrayBuffer> | undefined, optimizeForLatency: true };
  if (track.width && track.height) {
    config.codedWidth = track.width;
    config.codedHeight = track.height;
  }
  const sup = await VideoDecoder.isConfigSupported(config);
  if (!sup.supported) throw new Error(`This browser cannot decode ${track.codec}.`);
  let frame: VideoFrame | undefined;
  let failed: DOMException | undefined;
  const dec = new VideoDecoder({
    output: (f) => {
      frame?.close();
      frame = f;
    },
    error: (e) => (failed = e),
  });
  try {
    dec.configure(config);
    dec.decode(new EncodedVideoChunk({ type: 'key', timestamp: 0, data: data as Uint8Array<ArrayBuffer> }));
    await dec.flush();
    if (!frame) throw failed ?? new Error('The picture could not be decoded.');
    const w = frame.displayWidth;
    return width && w > width ? await createImageBitmap(frame, { resizeWidth: width, resizeHeight: Math.round((width * frame.displayHeight) / w), resizeQuality: 'low' }) : await createImageBitmap(frame);
  } finally {
    frame?.close();
    if (dec.state !== 'closed') dec.close();
  }
}

interface Kept extends Picture {
  /** the latest instant known to lead to this picture */
  until: number;
  used: number;
}

const LIMIT = 160;
const WIDTH = 640;
const PARALLEL = 6;

export class PictureStore {
  private kept = new Map<string, Kept[]>();
  private count = 0;
  private tick = 0;
  private running = 0;
  private waiting: (() => void)[] = [];
  /** cameras whose codec this browser cannot draw */
  private jpeg = new Set<string>();

  constructor(private readonly load: (camera: string, at: number, q: Quality, s?: AbortSignal) => Promise<Picture> = (c, t, q, s) => this.fetch(c, t, q, s)) {}

  /** known gives a picture without asking the server. */
  known(camera: string, t: number): Picture | undefined {
    const k = this.kept.get(camera)?.find((p) => t >= p.at && t <= p.until);
    if (k) k.used = ++this.tick;
    return k;
  }

  async at(camera: string, t: number, q: Quality, signal?: AbortSignal): Promise<Picture> {
    const k = this.known(camera, t);
    if (k) return k;
    while (this.running >= PARALLEL) await new Promise<void>((r) => this.waiting.push(r));
    if (signal?.aborted) {
      this.waiting.shift()?.();
      throw new DOMException('superseded', 'AbortError');
    }
    this.running++;
    try {
      const p = await this.load(camera, t, q, signal);
      return this.keep(camera, p, t);
    } finally {
      this.running--;
      this.waiting.shift()?.();
    }
  }

  private keep(camera: string, p: Picture, t: number): Picture {
    let list = this.kept.get(camera);
    if (!list) this.kept.set(camera, (list = []));
    const same = list.find((x) => Math.abs(x.at - p.at) < 1);
    if (same) {
      same.until = Math.max(same.until, t);
      same.used = ++this.tick;
      return same;
    }
    const k: Kept = { ...p, until: Math.max(p.at, t), used: ++this.tick };
    list.push(k);
    if (++this.count > LIMIT) this.drop();
    return k;
  }

  private drop(): void {
    let worst: { list: Kept[]; i: number; used: number } | undefined;
    for (const list of this.kept.values()) list.forEach((k, i) => (!worst || k.used < worst.used) && (worst = { list, i, used: k.used }));
    if (!worst) return;
    // The bitmap may still be drawn by somebody: let it go to the collector.
    worst.list.splice(worst.i, 1);
    this.count--;
  }

  private async fetch(camera: string, t: number, q: Quality, signal?: AbortSignal): Promise<Picture> {
    const at = new Date(t).toISOString();
    const stamp = (r: Response): number => {
      const x = Date.parse(r.headers.get('Bartizan-At') ?? '');
      return Number.isFinite(x) ? Math.min(x, t) : t;
    };
    if (!this.jpeg.has(camera)) {
      const r = await media(url(`/cameras/${camera}/still.mp4`, { at, quality: q }), { signal });
      const when = stamp(r);
      const have = this.known(camera, when);
      const file = new Uint8Array(await r.arrayBuffer());
      if (have) return { bitmap: have.bitmap, at: when };
      try {
        return { bitmap: await decode(file, WIDTH), at: when };
      } catch {
        this.jpeg.add(camera);
      }
    }
    const r = await media(url(`/cameras/${camera}/still.jpg`, { at, quality: q, width: WIDTH }), { signal });
    return { bitmap: await createImageBitmap(await r.blob()), at: stamp(r) };
  }
}

export const pictures = new PictureStore();

/**
 * Follower shows the picture of the latest instant asked: one request at a
 * time, what was asked meanwhile and is already old is never fetched.
 */
export class Follower {
  private want: number | undefined;
  private busy = false;
  private gone = false;

  constructor(
    private readonly camera: string,
    private readonly quality: () => Quality,
    private readonly show: (p: Picture) => void,
    private readonly none: (e: unknown) => void = () => {},
  ) {}

  follow(t: number): void {
    const k = pictures.known(this.camera, t);
    if (k) {
      this.want = undefined;
      this.show(k);
      return;
    }
    this.want = t;
    if (!this.busy) void this.run();
  }

  stop(): void {
    this.want = undefined;
  }

  close(): void {
    this.gone = true;
    this.want = undefined;
  }

  private async run(): Promise<void> {
    this.busy = true;
    while (this.want !== undefined && !this.gone) {
      const t = this.want;
      this.want = undefined;
      try {
        const p = await pictures.at(this.camera, t, this.quality());
        if (!this.gone) this.show(p);
      } catch (e) {
        if (!this.gone) this.none(e);
      }
    }
    this.busy = false;
  }
}
