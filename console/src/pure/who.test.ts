import { describe, expect, it } from 'vitest';
import type { Grant, Group } from '../api/who';
import { leads, readCheckpoint } from './merkle';
import { chain, edit, mark, tree, windowWords } from './rights';

const grant = (g: Partial<Grant>): Grant => ({ id: 'g', on: 'yard', actions: ['live'], role: 'viewer', ...g }) as Grant;
const group = (id: string, within = ''): Group => ({ id, name: id, site: false, within, cameras: [] });
const viewer = { role: 'viewer' };

describe('the matrix', () => {
  it('says what forbids before what gives', () => {
    expect(mark({ group: 'x', now: ['live'], times: [], forbids: ['live'] }, 'live')).toBe('never');
    expect(mark({ group: 'x', now: [], times: ['live'], forbids: [] }, 'live')).toBe('times');
    expect(mark(undefined, 'live')).toBe('no');
  });
  it('adds an action to the grant without limits, or makes one', () => {
    expect(edit([grant({})], viewer, 'yard', 'export', { kind: 'give' })).toEqual({ put: [expect.objectContaining({ id: 'g', actions: ['live', 'export'] })], end: [] });
    const made = edit([grant({ on: 'till' })], viewer, 'yard', 'export', { kind: 'give' });
    expect(made.put).toEqual([expect.objectContaining({ role: 'viewer', on: 'yard', actions: ['export'], forbid: false })]);
    expect(made.put[0]!.id).toBeUndefined();
  });
  it('takes one action away and leaves the others, and ends what is empty', () => {
    expect(edit([grant({ actions: ['live', 'ptz'] })], viewer, 'yard', 'ptz', { kind: 'none' })).toEqual({ put: [expect.objectContaining({ actions: ['live'] })], end: [] });
    expect(edit([grant({})], viewer, 'yard', 'live', { kind: 'none' })).toEqual({ put: [], end: ['g'] });
  });
  it('changes nothing where nothing changes, nor what is of others', () => {
    expect(edit([grant({})], viewer, 'yard', 'live', { kind: 'give' })).toEqual({ put: [], end: [] });
    expect(edit([grant({ role: 'operator' }), grant({ id: 'p', role: undefined, person: 'ann' })], viewer, 'yard', 'live', { kind: 'none' })).toEqual({ put: [], end: [] });
  });
  it('turns a right into a forbidding', () => {
    const e = edit([grant({ actions: ['live', 'ptz'] })], viewer, 'yard', 'ptz', { kind: 'forbid' });
    expect(e.put.map((g) => [!!g.forbid, g.actions])).toEqual([[true, ['ptz']], [false, ['live']]]);
  });
});

describe('groups', () => {
  const all = [group('site'), group('yard', 'site'), group('gate', 'yard')];
  it('climb to everything, even in a ring', () => {
    expect(chain(all, 'gate')).toEqual(['yard', 'site', 'everything']);
    expect(chain([group('a', 'b'), group('b', 'a')], 'a')).toContain('everything');
  });
  it('are drawn as a tree, and none is lost', () => {
    expect(tree(all).map((x) => [x.group.id, x.depth])).toEqual([['site', 0], ['yard', 1], ['gate', 2]]);
    expect(tree([group('a', 'b'), group('b', 'a')])).toHaveLength(2);
  });
});

it('a window is a sentence', () => {
  expect(windowWords({ days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '08:00', to: '18:00', zone: 'UTC' })).toBe('Mon to Fri, 08:00 to 18:00 (UTC)');
  expect(windowWords({ days: ['sat', 'mon'], from: '22:00', to: '06:00', zone: 'UTC' })).toBe('Mon, Sat, 22:00 to 06:00 of the next day (UTC)');
  expect(windowWords({ days: [], from: '00:00', to: '24:00', zone: 'UTC' })).toContain('every day');
});

describe('the signed tree', async () => {
  const sha = async (b: Uint8Array<ArrayBuffer>): Promise<Uint8Array> => new Uint8Array(await crypto.subtle.digest('SHA-256', b));
  const leafOf = (s: string) => sha(Uint8Array.of(0, ...new TextEncoder().encode(s)));
  const node = (a: Uint8Array, b: Uint8Array) => sha(Uint8Array.of(1, ...a, ...b));
  const b64 = (b: Uint8Array): string => btoa(String.fromCharCode(...b));
  const entries = Array.from({ length: 11 }, (_, i) => `{"seq":${i + 1}}`);
  const leaves = await Promise.all(entries.map(leafOf));
  const half = (n: number): number => 2 ** Math.floor(Math.log2(n - 1));
  const root = async (l: Uint8Array[]): Promise<Uint8Array> => (l.length === 1 ? l[0]! : node(await root(l.slice(0, half(l.length))), await root(l.slice(half(l.length)))));
  const path = async (m: number, l: Uint8Array[]): Promise<Uint8Array[]> => {
    if (l.length === 1) return [];
    const k = half(l.length);
    return m < k ? [...(await path(m, l.slice(0, k))), await root(l.slice(k))] : [...(await path(m - k, l.slice(k))), await root(l.slice(0, k))];
  };
  it('holds each of its entries, and no other', async () => {
    for (let n = 1; n <= entries.length; n++) {
      const r = b64(await root(leaves.slice(0, n)));
      for (let i = 0; i < n; i++) {
        const p = { index: i, leaf: b64(leaves[i]!), entry: entries[i]!, path: (await path(i, leaves.slice(0, n))).map(b64) };
        expect(await leads(p, n, r), `${i} of ${n}`).toBe(true);
        expect(await leads({ ...p, entry: '{"seq":99}' }, n, r)).toBe(false);
        if (n > 1) expect(await leads({ ...p, path: p.path.slice(1) }, n, r)).toBe(false);
        expect(await leads({ ...p, index: n }, n, r)).toBe(false);
        expect(await leads({ ...p, path: [...p.path, r] }, n, r)).toBe(false);
      }
    }
  });
  it('reads a checkpoint, and nothing that is none', () => {
    expect(readCheckpoint('node/audit\n11\nAAAA\n\n— node/audit c2ln\n')).toEqual({ origin: 'node/audit', size: 11, root: 'AAAA', signers: ['node/audit'] });
    for (const bad of ['', 'x', 'a\nb\nc\n\n', 'a\n-1\nc\n', 'a\n99999999999999999999\nc\n']) expect(readCheckpoint(bad)).toBeUndefined();
  });
});
