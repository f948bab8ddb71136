// Who steers what: the mode switch of the large tile, what its camera can do,
// and the way every command takes.

import { told, type Problem } from '../api/client';
import { device, type Command, type Position, type Ptz } from '../api/device';
import type { Camera } from '../api/types';
import { Helm } from '../pure/helm';
import { may, who } from './app.svelte';

/** yes: it turns and one may; forbidden: it turns, and one may not; no: it does not turn */
export type Turns = 'yes' | 'forbidden' | 'no';

const LOOK_MS = 1500;

class Steering {
  /** the camera that is steered, '' while none is */
  camera = $state('');
  info = $state.raw<Ptz>();
  /** the last refusal, until something works again */
  problem = $state.raw<Problem>();
  turns = $state<Record<string, Turns>>({});
  helm: Helm | undefined;

  private timer: ReturnType<typeof setTimeout> | undefined;
  private asked = new Map<string, number>();

  /** whoElse is who has just steered it, if that is somebody else. */
  get whoElse(): Ptz['held'] {
    const h = this.info?.held;
    return h && h.user !== who.session?.user ? h : undefined;
  }

  /** learn finds out whether a camera turns, once in a while. */
  async learn(cam: Camera): Promise<void> {
    if (cam.can) {
      this.turns[cam.id] = !cam.can.ptz ? 'no' : may('ptz') ? 'yes' : 'forbidden';
      return;
    }
    if (Date.now() - (this.asked.get(cam.id) ?? 0) < 300_000 || cam.status.state !== 'live') return;
    this.asked.set(cam.id, Date.now());
    try {
      await device.ptz(cam.id);
      this.turns[cam.id] = may('ptz') ? 'yes' : 'forbidden';
    } catch (e) {
      const p = told(e);
      if (p.status === 403) this.turns[cam.id] = await device.get(cam.id).then((d) => (d.can.ptz ? 'forbidden' : 'no'), () => 'no');
      else if (p.status === 404 || p.status === 501 || p.status === 400 || p.status === 422) this.turns[cam.id] = 'no';
      // Whatever else went wrong may be over when next asked.
      else this.asked.delete(cam.id);
    }
  }

  begin(id: string): void {
    if (this.camera === id) return;
    this.end();
    this.camera = id;
    if (this.turns[id] !== 'yes') return;
    this.helm = new Helm(
      async (c: Command) => {
        const r = await device.steer(id, c);
        if (this.camera !== id) return;
        this.problem = undefined;
        if (r?.position) this.at(r.position);
        if (c.op !== 'move') this.soon(250);
      },
      (e) => {
        if (this.camera !== id) return;
        this.problem = told(e);
        this.soon(250);
      },
    );
    void this.look();
  }

  end(): void {
    this.helm?.close();
    this.helm = undefined;
    this.camera = '';
    this.info = undefined;
    this.problem = undefined;
    clearTimeout(this.timer);
  }

  toggle(id: string): void {
    if (this.camera) this.end();
    else this.begin(id);
  }

  once(c: Command): void {
    this.helm?.once(c);
  }

  private at(position: Position): void {
    if (this.info) this.info = { ...this.info, position };
  }

  private soon(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.look(), ms);
  }

  private async look(): Promise<void> {
    clearTimeout(this.timer);
    const id = this.camera;
    if (!id) return;
    try {
      const i = await device.ptz(id);
      if (this.camera !== id) return;
      this.info = i;
      if (this.problem?.status !== 409 || !this.whoElse) this.problem = undefined;
    } catch (e) {
      if (this.camera !== id) return;
      this.problem = told(e);
    }
    this.soon(this.info?.moving ? 400 : LOOK_MS);
  }
}

export const steering = new Steering();
