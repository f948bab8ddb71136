import { describe, expect, it } from 'vitest';
import { correct, MasterClock, RATES, stepRate } from './clock';
import { fit, gridPlan, heroPlan, phonePlan } from './grid';
import { backoff, MEMORY_MS, rungs, videoOnly } from './ladder';
import { causeWords, emptyLane, find, holeAt, jump, laneWords, nextStart, prevEnd, proofAt, proofClass, recordedAt, splice, type Lane } from './lane';
import { follow, keepIn, pan, spanWords, SPAN_MAX, SPAN_MIN, ticks, tickStep, tOf, xOf, zoom } from './timeline';
import { backTo, readState, writeState } from './url';
import { bits, bytes, clockWords, days, deviceWords, sentence } from './words';

describe('timeline', () => {
  const v = { a: 1_000_000, b: 1_600_000 };
  it('goes from time to x and back', () => {
    for (const t of [1_000_000, 1_234_567, 1_600_000]) expect(tOf(xOf(t, v, 777), v, 777)).toBeCloseTo(t, 3);
  });
  it('zooms around the pointer, within limits', () => {
    const z = zoom(v, 1_150_000, 0.5);
    expect(z.b - z.a).toBe(300_000);
    expect(xOf(1_150_000, z, 1000)).toBeCloseTo(xOf(1_150_000, v, 1000), 6);
    expect(zoom(v, 1_150_000, 1e-9).b - zoom(v, 1_150_000, 1e-9).a).toBeCloseTo(SPAN_MIN);
    expect(zoom(v, 1_150_000, 1e9).b - zoom(v, 1_150_000, 1e9).a).toBeCloseTo(SPAN_MAX);
  });
  it('chooses round ticks that do not touch, from 100 ms to 30 days', () => {
    for (const span of [100, 5000, 60_000, 3_600_000, 86_400_000, SPAN_MAX]) {
      const step = tickStep(span, 1200);
      expect((step / span) * 1200).toBeGreaterThanOrEqual(92);
      const list = ticks({ a: 1e12, b: 1e12 + span }, 1200);
      expect(list.length).toBeGreaterThan(0);
      expect(list.length).toBeLessThan(14);
    }
  });
  it('stands on local midnights', () => {
    const shift = 2 * 3_600_000;
    const t = ticks({ a: Date.UTC(2026, 0, 1), b: Date.UTC(2026, 0, 20) }, 1200, shift)[0]!;
    expect((t.t + shift) % 86_400_000).toBe(0);
  });
  it('follows the live edge, pans, keeps the playhead in sight', () => {
    const f = follow(v, 2_000_000);
    expect(f.b - f.a).toBe(600_000);
    expect(xOf(2_000_000, f, 100)).toBeCloseTo(94);
    expect(pan(v, 10)).toEqual({ a: 1_000_010, b: 1_600_010 });
    expect(keepIn(v, 1_300_000)).toBe(v);
    for (const t of [900_000, 1_599_000, 5_000_000]) {
      const k = keepIn(v, t);
      expect(t).toBeGreaterThan(k.a);
      expect(t).toBeLessThan(k.b);
    }
  });
  it('says lengths in words', () => {
    expect([40, 3200, 42_000, 125_000, 3_900_000, 3 * 86_400_000].map(spanWords)).toEqual(['40 ms', '3.2 s', '42 s', '2 min 5 s', '1 h 05 min', '3 days']);
  });
});

describe('lane', () => {
  const lane = (a: number, b: number, spans: [number, number][], holes: [number, number, string][] = []): Lane => ({ a, b, spans: spans.map(([x, y]) => ({ a: x, b: y })), holes: holes.map(([x, y, cause]) => ({ a: x, b: y, cause, message: '' })), proofs: [] });
  it('splices a fresh tail onto what was known and joins what touches', () => {
    const l = splice(lane(0, 100, [[0, 60]], [[60, 100, 'starting']]), lane(50, 150, [[50, 150]]));
    expect(l).toEqual(lane(0, 150, [[0, 150]]));
  });
  it('grows to the left, and lets a fresh answer replace an old one inside', () => {
    const l = splice(lane(100, 200, [[100, 200]]), lane(0, 101, [[0, 40], [80, 101]], [[40, 80, 'node-down']]));
    expect(l.spans).toEqual([{ a: 0, b: 40 }, { a: 80, b: 200 }]);
    const m = splice(l, lane(120, 130, [], [[120, 130, 'damaged']]));
    expect(m.spans).toEqual([{ a: 0, b: 40 }, { a: 80, b: 120 }, { a: 130, b: 200 }]);
    expect(m.holes.map((h) => h.cause)).toEqual(['node-down', 'damaged']);
  });
  it('says the worst that signatures say of an instant', () => {
    const l = { ...emptyLane(), a: 0, b: 100, proofs: [{ a: 0, b: 100, cause: 'authentic', message: '' }, { a: 40, b: 60, cause: 'not-authentic', message: 'changed' }, { a: 50, b: 70, cause: 'uncovered', message: '' }] };
    expect([10, 45, 55, 65, 100].map((t) => proofAt(l, t)?.cause)).toEqual(['authentic', 'not-authentic', 'not-authentic', 'uncovered', undefined]);
    expect(['authentic', 'uncovered', 'missing', 'unsigned', 'not-authentic'].map(proofClass)).toEqual(['good', 'partly', 'wrong', 'wrong', 'wrong']);
  });
  it('never pretends to know between two answers that do not touch', () => {
    expect(splice(lane(0, 10, [[0, 10]]), lane(50, 60, [[50, 60]]))).toEqual(lane(50, 60, [[50, 60]]));
    expect(splice(emptyLane(), lane(5, 6, [[5, 6]]))).toEqual(lane(5, 6, [[5, 6]]));
  });
  it('finds by bisection, as a plain search does', () => {
    const spans = Array.from({ length: 500 }, (_, i) => ({ a: i * 10, b: i * 10 + 6 }));
    for (let t = -3; t < 5010; t += 1) expect(find(spans, t)).toBe(spans.find((s) => t >= s.a && t < s.b));
  });
  const a = lane(0, 10_000, [[0, 2000], [6000, 10_000]], [[2000, 6000, 'camera-down']]);
  const b = lane(0, 10_000, [[0, 2500], [5000, 10_000]], [[2500, 5000, 'node-down']]);
  it('knows what is recorded, what is not and why', () => {
    expect(recordedAt(a, 1999)).toBe(true);
    expect(holeAt(a, 2000)?.cause).toBe('camera-down');
    expect(nextStart(a, 3000)).toBe(6000);
    expect(nextStart(a, 100)).toBe(100);
    expect(prevEnd(a, 3000)).toBe(2000);
    expect(prevEnd(a, 0)).toBeUndefined();
  });
  it('jumps only when no camera has a picture, to the first that has', () => {
    expect(jump([a, b], 1000)).toBeUndefined();
    expect(jump([a, b], 2200)).toBeUndefined();
    expect(jump([a, b], 3000)).toEqual({ to: 5000, why: causeWords('camera-down') });
    expect(jump([a], 3000)?.to).toBe(6000);
  });
  it('plays through a gap that is shorter than a moment, and stays where nothing follows', () => {
    expect(jump([lane(0, 9000, [[0, 1000], [1800, 9000]], [[1000, 1800, 'camera-down']])], 1100)).toBeUndefined();
    expect(jump([lane(0, 9000, [[0, 1000]], [[1000, 9000, 'node-down']])], 2000)).toBeUndefined();
    expect(laneWords([a], 3000)).toBe('The camera did not answer.');
  });
});

describe('clock', () => {
  it('runs, stands, and changes speed without a leap', () => {
    let t = 0;
    const c = new MasterClock(() => t);
    c.set(5000);
    t = 100;
    expect(c.at).toBe(5000);
    c.play();
    t = 1100;
    expect(c.at).toBe(6000);
    c.setRate(4);
    expect(c.at).toBe(6000);
    t = 1350;
    expect(c.at).toBe(7000);
    c.pause();
    t = 9999;
    expect(c.at).toBe(7000);
  });
  it('trims small errors by at most 30 % and seeks beyond half a second', () => {
    expect(correct(0, 1)).toEqual({ seek: false, rate: 1 });
    expect(correct(600, 1)).toEqual({ seek: true });
    expect(correct(-600, 1)).toEqual({ seek: true });
    for (const r of RATES)
      for (let d = -500; d <= 500; d += 25) {
        const f = correct(d, r);
        if (f.seek) continue;
        expect(f.rate).toBeGreaterThanOrEqual(0.0625);
        expect(f.rate).toBeLessThanOrEqual(Math.min(16, r * 1.3 + 1e-9));
        if (d > 20 * Math.max(1, r)) expect(f.rate).toBeLessThan(r);
        if (d < -20 * Math.max(1, r) && r < 16) expect(f.rate).toBeGreaterThan(r);
      }
  });
  it('converges: a tile 300 ms off is within a frame after a second and a half', () => {
    let diff = 300;
    for (let i = 0; i < 12; i++) {
      const f = correct(diff, 1);
      if (!f.seek) diff += (f.rate - 1) * 125;
    }
    expect(Math.abs(diff)).toBeLessThan(40);
  });
  it('steps through the speeds', () => {
    expect(stepRate(1, 1)).toBe(2);
    expect(stepRate(16, 1)).toBe(16);
    expect(stepRate(0.25, -1)).toBe(0.25);
  });
});

describe('ladder', () => {
  const can = { webrtc: true, mse: (c: string) => c.startsWith('avc1') };
  it('takes WebRTC, then MSE, then stills', () => {
    expect(rungs({ webrtc: true, mse: true, codecs: 'avc1.64001f,mp4a.40.2' }, can, undefined, 0)).toEqual(['webrtc', 'mse', 'stills']);
  });
  it('leaves out what stream or browser cannot do', () => {
    expect(rungs({ webrtc: false, mse: true, codecs: 'avc1.64001f' }, can, undefined, 0)).toEqual(['mse', 'stills']);
    expect(rungs({ webrtc: false, mse: true, codecs: 'hvc1.1.6.L93.B0' }, can, undefined, 0)).toEqual(['stills']);
    expect(rungs(undefined, { ...can, webrtc: false }, undefined, 0)).toEqual(['mse', 'stills']);
  });
  it('fetches sound by a way that carries it', () => {
    const s = { webrtc: true, mse: true, codecs: 'avc1.64001f,mp4a.40.2' };
    expect(rungs(s, can, undefined, 0, 'AAC')).toEqual(['mse', 'webrtc', 'stills']);
    expect(rungs(s, can, undefined, 0, 'G.711 µ-law')[0]).toBe('webrtc');
    expect(rungs(s, can, undefined, 0, 'Opus')[0]).toBe('webrtc');
  });
  it('remembers what worked, for a while', () => {
    const s = { webrtc: true, mse: true, codecs: 'avc1.64001f' };
    expect(rungs(s, can, { rung: 'mse', at: 0 }, 1000)).toEqual(['mse', 'webrtc', 'stills']);
    expect(rungs(s, can, { rung: 'mse', at: 0 }, MEMORY_MS + 1)[0]).toBe('webrtc');
    expect(rungs(s, can, { rung: 'stills', at: 0 }, 1)[0]).toBe('webrtc');
  });
  it('waits longer from try to try, up to a limit', () => {
    const w = [0, 1, 2, 3, 4, 5, 6, 20].map((n) => backoff(n, 0.5));
    expect(w.every((x, i) => !i || x >= w[i - 1]!)).toBe(true);
    expect(w[0]).toBe(400);
    expect(backoff(99, 1)).toBeLessThanOrEqual(18_750);
    expect(videoOnly('avc1.42e01e, mp4a.40.2')).toBe('avc1.42e01e');
  });
});

describe('address', () => {
  it('keeps what is shown', () => {
    const s = { layout: '4' as const, cam: 'c1', t: Date.UTC(2026, 10, 21, 20, 41, 7, 250), rate: 2 };
    const u = new URL('https://x' + writeState(s));
    expect(readState(u.pathname, u.search)).toEqual(s);
    expect(writeState({ layout: 'auto', cam: '', rate: 1 })).toBe('/live');
  });
  it('is not led astray', () => {
    expect(readState('/live', '?layout=99&rate=-3&t=x')).toEqual({ layout: 'auto', cam: '', t: undefined, rate: 1 });
    expect(['//evil.example', 'https://evil.example', '/\\evil.example', null, '/login?next=/live'].map(backTo)).toEqual(Array(5).fill('/live'));
    expect(backTo('/cameras/abc?x=1')).toBe('/cameras/abc?x=1');
  });
});

describe('grid', () => {
  it('gives every camera a cell inside the wall, without overlap', () => {
    for (const [W, H] of [[1528, 640], [1100, 700], [1848, 820], [700, 500]] as const)
      for (let n = 1; n <= 16; n++)
        for (const p of n <= 8 ? [heroPlan(n, W, H), gridPlan(n, W, H)] : [gridPlan(n, W, H)]) {
          expect(p.cells).toHaveLength(n);
          p.cells.forEach((c, i) => {
            expect(c.x >= -0.01 && c.y >= -0.01 && c.x + c.w <= W + 0.01 && c.y + c.h <= H + 0.01).toBe(true);
            for (const d of p.cells.slice(i + 1)) expect(c.x + c.w <= d.x + 0.01 || d.x + d.w <= c.x + 0.01 || c.y + c.h <= d.y + 0.01 || d.y + d.h <= c.y + 0.01).toBe(true);
          });
        }
  });
  it('fills squares with squares', () => {
    const xs = (n: number) => new Set(gridPlan(n, 1528, 600).cells.map((c) => Math.round(c.x))).size;
    expect([4, 9, 16].map(xs)).toEqual([2, 3, 4]);
  });
  it('makes the hero the largest and loses little of the picture', () => {
    const p = heroPlan(8, 1528, 640);
    const [h, ...rest] = p.cells;
    expect(rest.every((c) => c.w * c.h < h!.w * h!.h)).toBe(true);
    expect(p.cells.every((c) => fit(c, 16 / 9) === 'cover')).toBe(true);
    expect(fit({ x: 0, y: 0, w: 100, h: 100 }, 16 / 9)).toBe('contain');
    expect(phonePlan(8, 375).cells).toHaveLength(8);
  });
});

describe('words', () => {
  it('reads well', () => {
    expect([bytes(999), bytes(1500), bytes(5e10), bytes(2e12)]).toEqual(['999 B', '1.5 kB', '50.0 GB', '2.0 TB']);
    expect([bits(394_000), bits(2_100_000), bits(0)]).toEqual(['394 kbit/s', '2.1 Mbit/s', '']);
    expect([days(0.5), days(3.14), days(30)]).toEqual(['12 h', '3.1 d', '30 d']);
    expect([clockWords(undefined), clockWords(12), clockWords(3200), clockWords(-60_000)]).toEqual(['not told by the camera', 'exact', '3.2 s ahead', '60 s behind']);
    expect(deviceWords('Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36')).toBe('Chromium 156 on Linux');
    expect(['', 'the host is there', 'All well.'].map(sentence)).toEqual(['', 'The host is there.', 'All well.']);
    expect(deviceWords('curl/8')).toBe('curl/8');
  });
});
