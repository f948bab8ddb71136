import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';

const dist = path.resolve(import.meta.dirname, '../dist');
const page = readFileSync(path.join(dist, 'index.html'), 'utf8');
const size = (f: string) => gzipSync(readFileSync(path.join(dist, f)), { level: 9 }).length;

it('first load stays within 120 kB', () => {
  const first = [...page.matchAll(/(?:src|href)="\/([^"]+)"/g)].map((m) => m[1]!);
  expect(first.length).toBeGreaterThanOrEqual(3);
  const sum = size('index.html') + first.reduce((n, f) => n + size(f), 0);
  console.log(`first load: ${(sum / 1000).toFixed(1)} kB`);
  expect(sum).toBeLessThan(120_000);
});

it('nothing in dist needs what the policy forbids', () => {
  for (const f of readdirSync(path.join(dist, 'assets'))) {
    const s = readFileSync(path.join(dist, 'assets', f), 'utf8');
    expect(s, f).not.toMatch(/\beval\(|new Function\(|url\(data:|https?:\/\/(?!www\.w3\.org|svelte\.dev)/);
    expect(s, f).not.toContain(process.cwd());
  }
});
