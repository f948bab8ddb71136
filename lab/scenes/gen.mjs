// Draws the scenes in Chromium and encodes lab/clips with ffmpeg.
//
//   node gen.mjs              every clip
//   node gen.mjs gate,dock    some of them
//   node gen.mjs --stills     four pictures of each into out/, to look at
import http from 'node:http';
import fs from 'node:fs';
import path from 'node:path';
import {spawn, spawnSync} from 'node:child_process';
import {chromium} from 'playwright-core';
import {encode} from './encode.mjs';

const here = import.meta.dirname, out = path.join(here, 'out'), three = path.join(here, 'node_modules/three/build');
const args = process.argv.slice(2), stills = args.includes('--stills'), only = args.find((a) => !a.startsWith('-'))?.split(',');
const frames = stills ? 4 : 250;
fs.mkdirSync(out, {recursive: true});

const page = `<!doctype html><body style="margin:0"><canvas width=960 height=540></canvas>
<script type=importmap>{"imports":{"three":"/three.module.js"}}</script><script type=module src=/page.mjs></script>`;
const sinks = {};
const server = http.createServer((q, r) => {
  const name = path.basename(q.url);
  if (q.url.startsWith('/frames/')) {
    const parts = [];
    q.on('data', (d) => parts.push(d));
    q.on('end', () => sinks[name].write(Buffer.concat(parts), () => r.end()));
    return;
  }
  const file = [here, three].map((d) => path.join(d, name)).find((f) => /\.m?js$/.test(f) && fs.existsSync(f));
  if (file) r.setHeader('content-type', 'text/javascript').end(fs.readFileSync(file));
  else r.setHeader('content-type', 'text/html').end(page);
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--enable-unsafe-swiftshader', '--use-gl=angle', '--use-angle=swiftshader'],
});
const tab = await browser.newPage({viewport: {width: 960, height: 540}});
tab.on('console', (m) => m.type() === 'error' && !m.text().includes('favicon') && console.log('page:', m.text()));
tab.on('pageerror', (e) => console.log('page:', e.message));
await tab.goto(`http://127.0.0.1:${server.address().port}/`);
await tab.waitForFunction('window.names', null, {timeout: 30000});

for (const name of await tab.evaluate('names')) {
  if (only && !only.includes(name)) continue;
  const began = Date.now(), raw = path.join(out, name + '.mkv');
  const ff = spawn('ffmpeg', ['-y', '-v', 'error', '-f', 'image2pipe', '-c:v', 'mjpeg', '-framerate', '25', '-i', '-', '-c', 'copy', raw], {stdio: ['pipe', 'inherit', 'inherit']});
  sinks[name] = ff.stdin;
  await tab.evaluate(([n, f]) => render(n, f), [name, frames]);
  ff.stdin.end();
  await new Promise((done) => ff.on('close', done));
  console.log(name, 'drawn in', ((Date.now() - began) / 1000).toFixed(0), 's');
  if (stills) spawnSync('ffmpeg', ['-y', '-v', 'error', '-i', raw, '-vf', 'scale=640:-1,tile=2x2', path.join(out, name + '.png')], {stdio: 'inherit'});
  else encode(name, raw);
}
await browser.close();
server.close();
