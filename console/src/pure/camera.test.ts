import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Command, Found } from '../api/device';
import { byAddress, chunks, nameFor, networksOf, nowWords, reached } from './enrol';
import { Helm, ofKeys, ofPad, pictureAt, REPEAT_MS, stick } from './helm';

describe('helm', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  /** A camera whose answers come when told. */
  function camera() {
    const sent: Command[] = [];
    const open: { ok: () => void; no: (e: unknown) => void }[] = [];
    const errors: unknown[] = [];
    const helm = new Helm((c) => (sent.push(c), new Promise((ok, no) => open.push({ ok: () => ok(undefined), no }))), (e) => errors.push(e));
    const answer = async (e?: unknown) => {
      const o = open.shift()!;
      if (e) o.no(e);
      else o.ok();
      await vi.advanceTimersByTimeAsync(0);
    };
    return { helm, sent, answer, errors, waiting: () => open.length, ops: () => sent.map((c) => c.op) };
  }
  const left = { pan: -0.5, tilt: 0, zoom: 0 };
  const none = { pan: 0, tilt: 0, zoom: 0 };

  it('has one request on the way, and only the newest speed follows', async () => {
    const c = camera();
    for (const pan of [-0.1, -0.2, -0.3, -0.4]) c.helm.hold({ ...none, pan });
    expect(c.waiting()).toBe(1);
    await c.answer();
    expect(c.sent).toEqual([{ op: 'move', pan: -0.1, tilt: 0, zoom: 0, ms: 1000 }, { op: 'move', pan: -0.4, tilt: 0, zoom: 0, ms: 1000 }]);
  });
  it('never loses the stop, however short the touch', async () => {
    const c = camera();
    c.helm.hold(left);
    c.helm.hold(none);
    await c.answer();
    await c.answer();
    expect(c.ops()).toEqual(['move', 'stop']);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(c.sent.length).toBe(2);
  });
  it('tells a held move again, until let go', async () => {
    const c = camera();
    c.helm.hold(left);
    await c.answer();
    await vi.advanceTimersByTimeAsync(REPEAT_MS);
    await c.answer();
    expect(c.ops()).toEqual(['move', 'move']);
    c.helm.close();
    await c.answer();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(c.ops()).toEqual(['move', 'move', 'stop']);
  });
  it('adds up the steps of a wheel and keeps only the newest place', async () => {
    const c = camera();
    c.helm.once({ op: 'home' });
    c.helm.once({ op: 'relative', zoom: 0.1 });
    c.helm.once({ op: 'relative', zoom: 0.25 });
    await c.answer();
    expect(c.sent[1]).toEqual({ op: 'relative', pan: 0, tilt: 0, zoom: 0.35 });
    c.helm.once({ op: 'center', x: 0.1, y: 0.1 });
    c.helm.once({ op: 'center', x: 0.9, y: 0.9 });
    await c.answer();
    await c.answer();
    expect(c.sent.slice(2)).toEqual([{ op: 'center', x: 0.9, y: 0.9 }]);
  });
  it('stops asking when refused', async () => {
    const c = camera();
    c.helm.hold(left);
    c.helm.once({ op: 'home' });
    await c.answer(new Error('held'));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(c.errors.length).toBe(1);
    expect(c.ops()).toEqual(['move']);
  });
  it('reads keys and sticks', () => {
    expect(ofKeys(['ArrowLeft', 'ArrowUp'])).toEqual({ pan: -0.6, tilt: 0.6, zoom: 0 });
    expect(ofKeys(['ArrowLeft', 'ArrowRight', '+'], true)).toEqual({ pan: 0, tilt: 0, zoom: 0.15 });
    expect([stick(0.1), stick(-0.15), stick(1), stick(-1), stick(2), stick(NaN)]).toEqual([0, 0, 1, -1, 1, 0]);
    expect(ofPad({ axes: [1, 1, 0, 0], buttons: [] })).toEqual({ pan: 1, tilt: -1, zoom: 0 });
    expect(ofPad({ axes: [0, 0], buttons: Array.from({ length: 8 }, (_, i) => ({ value: i === 7 ? 1 : 0 })) }).zoom).toBe(1);
  });
  it('finds the place in a picture that is cut or has borders', () => {
    // 16:9 in a square, filling it: the sides are cut, the middle stays.
    expect(pictureAt({ w: 900, h: 900 }, 16 / 9, false, 450, 450)).toEqual({ x: 0.5, y: 0.5 });
    expect(pictureAt({ w: 900, h: 900 }, 16 / 9, false, 0, 0).x).toBeCloseTo(350 / 1600, 6);
    // The same with borders above and below: the border belongs to the edge.
    expect(pictureAt({ w: 1600, h: 1600 }, 16 / 9, true, 0, 100)).toEqual({ x: 0, y: 0 });
    expect(pictureAt({ w: 1600, h: 1600 }, 16 / 9, true, 1600, 1250).y).toBe(1);
    expect(pictureAt({ w: 1600, h: 1600 }, 16 / 9, true, 800, 350 + 225).y).toBeCloseTo(0.25, 6);
  });
});

describe('adding cameras', () => {
  const f = (x: Partial<Found>): Found => ({ key: x.address ?? '', address: '10.0.0.1', name: '', maker: '', model: '', hardware: '', location: '', xaddr: '', profiles: [], open: false, secure: true, ...x });
  it('reads networks, and says which word is none', () => {
    expect(networksOf(' 10.1.2.0/24, 192.168.1.9;fd00::/120 ')).toEqual({ networks: ['10.1.2.0/24', '192.168.1.9/32', 'fd00::/120'], wrong: '' });
    for (const s of ['10.1.2', '10.1.2.256', '10.0.0.0/33', 'camera.local', 'fd00::/129']) expect(networksOf(s).wrong).toBe(s);
    expect(networksOf('')).toEqual({ networks: [], wrong: '' });
  });
  it('gives every camera another name', () => {
    const taken = new Set(['Gate']);
    expect(nameFor(f({ name: 'Gate' }), taken)).toBe('Gate 2');
    expect(nameFor(f({ name: 'IPC', maker: 'Aurora', model: 'AU-200', location: 'yard' }), taken)).toBe('Aurora AU-200, yard');
    expect(nameFor(f({ name: 'IPC', maker: 'Aurora', model: 'AU-200', location: 'yard' }), taken)).toBe('Aurora AU-200, yard 2');
    expect(nameFor(f({}), taken)).toBe('10.0.0.1');
  });
  it('sorts addresses as numbers and splits long lists', () => {
    expect(['10.0.0.10', '10.0.0.9', '9.0.0.1'].map((address) => f({ address })).sort(byAddress).map((x) => x.address)).toEqual(['9.0.0.1', '10.0.0.9', '10.0.0.10']);
    expect(chunks([1, 2, 3, 4, 5], 2)).toEqual([[1, 2], [3, 4], [5]]);
  });
  it('says how far a device is', () => {
    const d = { address: 'a', name: '', steps: [], unsafe: [] };
    expect(nowWords({ ...d, state: 'working', step: 'time' })).toBe('Setting its clock');
    expect(nowWords({ ...d, state: 'done', unsafe: ['clear'] })).toMatch(/warning/);
    expect(reached({ ...d, state: 'working', steps: [{ step: 'reach', outcome: 'ok', message: '' }, { step: 'identify', outcome: 'failed', message: '' }] })).toBe(1);
    expect(reached({ ...d, state: 'done' })).toBe(8);
  });
});
