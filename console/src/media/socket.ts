// The one WebSocket: live media of all tiles, and the state of all cameras.
// It reconnects for ever; open subscriptions are opened again.

import type { Camera, Quality } from '../api/types';
import { backoff } from '../pure/ladder';

export interface InitWord {
  mime: string;
  width: number;
  height: number;
  reorder?: number | boolean;
  audio?: boolean;
}

export interface Listener {
  init(w: InitWord): void;
  data(kind: 'init' | 'fragment', key: boolean, wallMs: number, bytes: Uint8Array): void;
  end(message: string): void;
  fail(message: string, advice: string): void;
  lost(units: number): void;
}

interface Sub {
  camera: string;
  quality: Quality;
  audio: boolean;
  l: Listener;
}

export class LiveSocket {
  private ws: WebSocket | undefined;
  private subs = new Map<number, Sub>();
  private nextId = 1;
  private tries = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private wanted = false;
  oncamera: (c: Camera) => void = () => {};
  onremoved: (id: string) => void = () => {};
  /** told when the way to the server opens or is lost */
  onstate: (up: boolean) => void = () => {};

  start(): void {
    this.wanted = true;
    if (!this.ws) this.connect();
  }

  stop(): void {
    this.wanted = false;
    clearTimeout(this.timer);
    this.ws?.close();
    this.ws = undefined;
    this.subs.clear();
  }

  open(camera: string, quality: Quality, audio: boolean, l: Listener): () => void {
    const id = this.nextId++;
    const s = { camera, quality, audio, l };
    this.subs.set(id, s);
    this.ask(id, s);
    return () => {
      if (this.subs.delete(id)) this.send({ op: 'close', id });
    };
  }

  private ask(id: number, s: Sub): void {
    this.send({ op: 'open', id, camera: s.camera, quality: s.quality, audio: s.audio });
  }

  private send(m: unknown): void {
    if (this.ws?.readyState === WebSocket.OPEN) this.ws.send(JSON.stringify(m));
  }

  private connect(): void {
    const ws = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/api/v1/live`, 'bartizan.live.1');
    ws.binaryType = 'arraybuffer';
    this.ws = ws;
    ws.onopen = () => {
      this.tries = 0;
      this.onstate(true);
      for (const [id, s] of this.subs) this.ask(id, s);
    };
    ws.onmessage = (e) => {
      if (typeof e.data === 'string') this.word(e.data);
      else this.binary(e.data as ArrayBuffer);
    };
    ws.onclose = () => {
      if (this.ws !== ws) return;
      this.ws = undefined;
      this.onstate(false);
      for (const s of [...this.subs.values()]) s.l.end('The connection to the server was lost.');
      if (this.wanted) this.timer = setTimeout(() => this.connect(), backoff(this.tries++, Math.random()));
    };
  }

  private word(text: string): void {
    let m: { op?: string; id?: number; camera?: Camera | string; units?: number; title?: string; detail?: string; message?: string } & Partial<InitWord>;
    try {
      m = JSON.parse(text) as typeof m;
    } catch {
      return;
    }
    if (typeof m.camera === 'object') {
      if (m.op === 'camera' && m.camera.id) this.oncamera(m.camera);
      return;
    }
    if (m.op === 'removed' && m.camera) {
      this.onremoved(m.camera);
      return;
    }
    const s = this.subs.get(m.id ?? -1);
    if (!s) return;
    if (m.op === 'init') s.l.init({ mime: m.mime ?? '', width: m.width ?? 0, height: m.height ?? 0, reorder: m.reorder, audio: m.audio });
    else if (m.op === 'end') s.l.end(m.message ?? '');
    else if (m.op === 'lost') s.l.lost(m.units ?? 0);
    else if (m.op === 'error') {
      this.subs.delete(m.id!);
      s.l.fail(m.title ?? 'The picture cannot be had.', m.detail ?? '');
    }
  }

  private binary(b: ArrayBuffer): void {
    if (b.byteLength < 16) return;
    const v = new DataView(b);
    const s = this.subs.get(v.getUint32(0));
    if (!s) return;
    const kind = v.getUint8(4) === 1 ? 'init' : 'fragment';
    const wall = Number(v.getBigInt64(8) / 1000n) / 1000;
    s.l.data(kind, (v.getUint8(5) & 1) === 1, wall, new Uint8Array(b, 16));
  }
}

export const socket = new LiveSocket();
