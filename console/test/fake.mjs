// A small stand-in for the server, to build the console against: the contract
// of design/0002-http-api.md with pictures looped from lab/clips. It knows no
// WebRTC (WHEP answers 501, so the ladder goes on) and keeps nothing.
//
//   node test/fake.mjs [--port 8543] [--clips ../lab/clips]
//
// Needs ffmpeg (cuts clips into one fragment a frame) and openssl (a certificate).
import { execFileSync } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocketServer } from 'ws';
import { answer } from './fake-devices.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const arg = (n, d) => (process.argv.includes('--' + n) ? process.argv[process.argv.indexOf('--' + n) + 1] : d);
const port = Number(arg('port', 8543));
const clips = path.resolve(here, arg('clips', '../../lab/clips'));
const work = path.join(tmpdir(), 'bartizan-console-fake');
mkdirSync(work, { recursive: true });

// ---- pictures

function clip(name) {
  const out = path.join(work, name + '.frag.mp4');
  if (!existsSync(out)) execFileSync('ffmpeg', ['-v', 'error', '-y', '-i', path.join(clips, name + '.mp4'), '-an', '-c', 'copy', '-video_track_timescale', '90000', '-movflags', 'empty_moov+default_base_moof+frag_every_frame', out]);
  const b = readFileSync(out);
  let init = Buffer.alloc(0);
  const frames = [];
  let pend;
  for (let i = 0; i + 8 <= b.length; ) {
    const n = b.readUInt32BE(i);
    const t = b.toString('latin1', i + 4, i + 8);
    const box = b.subarray(i, i + n);
    if (t === 'ftyp' || t === 'moov') init = Buffer.concat([init, box]);
    if (t === 'moof') pend = box;
    if (t === 'mdat' && pend) {
      const bytes = Buffer.concat([pend, box]);
      const nal = box.subarray(8);
      let key = false;
      for (let k = 0; k + 5 <= nal.length; ) {
        if ((nal[k + 4] & 31) === 5) key = true;
        k += 4 + nal.readUInt32BE(k);
      }
      frames.push({ bytes, tfdt: bytes.indexOf('tfdt') + 4, key });
      pend = undefined;
    }
    i += n;
  }
  const avcc = init.indexOf('avcC') + 4;
  const codecs = 'avc1.' + init.subarray(avcc + 1, avcc + 4).toString('hex');
  const w = init.readUInt16BE(init.indexOf('avc1') + 4 + 24);
  const h = init.readUInt16BE(init.indexOf('avc1') + 4 + 26);
  const fps = name.endsWith('_sub') ? 12.5 : 25;
  return { init, frames, codecs, w, h, fps, tick: 90000 / fps, n: frames.length, rate: (b.length * 8 * fps) / frames.length };
}
function at(frame, ticks) {
  const b = Buffer.from(frame.bytes);
  if (b[frame.tfdt] === 1) b.writeBigUInt64BE(BigInt(ticks), frame.tfdt + 4);
  else b.writeUInt32BE(ticks >>> 0, frame.tfdt + 4);
  return b;
}
const indexOf = (c, ms) => Math.floor((ms * c.fps) / 1000);
const msOf = (c, i) => (i * 1000) / c.fps;
const frameAt = (c, i) => c.frames[((i % c.n) + c.n) % c.n];
const keyBefore = (c, i) => {
  while (!frameAt(c, i).key) i--;
  return i;
};

const names = [['gate', 'Main gate'], ['lobby', 'Lobby turnstiles'], ['parking', 'Car park east'], ['dock', 'Loading dock 2'], ['aisle', 'Aisle 14'], ['perimeter', 'North fence'], ['server', 'Server room'], ['street', 'Harbour street']];
const media = new Map();
const began = Date.now();
const since = began - 5 * 3600_000;
const cameras = names.map(([file, name], i) => {
  const main = clip(file + '_main');
  const sub = clip(file + '_sub');
  const id = 'cam-' + file;
  media.set(id, { main, sub });
  return camera(id, name, i, main, sub);
});
function camera(id, name, i, main, sub) {
  const stream = (quality, c) => ({ quality, state: 'live', since: new Date(began).toISOString(), video: 'H.264', audio: '', codecs: c.codecs, width: c.w, height: c.h, fps: c.fps, reorder: 0, bitrate: Math.round(c.rate), secure: i % 4 !== 3, transport: 'tcp', clock_offset_ms: i === 2 ? -3400 : 12, lost_packets: 0, connects: 1, recording: true, webrtc: true, mse: true });
  return { id, name, position: i, enabled: true, demo: true, main_url: `rtsps://127.0.0.1:9554/${id}/main`, sub_url: `rtsps://127.0.0.1:9554/${id}/sub`, username: 'demo', has_password: true, transport: 'auto', record: { main: true, sub: true, audio: true }, keep: { days: 30, max_bytes: 0 }, created: new Date(since).toISOString(), status: { state: 'live', since: new Date(began).toISOString(), streams: [stream('main', main), stream('sub', sub)] } };
}
const holesOf = (i) => {
  const h = [{ a: began - 95 * 60_000, b: began - 82 * 60_000, cause: 'node-down', message: 'Bartizan was not running.' }];
  if (i === 5) h.push({ a: began - 40 * 60_000, b: began - 25 * 60_000, cause: 'camera-down', message: 'The camera closed the connection.' });
  if (i === 2) h.push({ a: began - 200 * 60_000, b: began - 150 * 60_000, cause: 'not-recorded', message: '' });
  if (i === 4) h.push({ a: began - 12 * 60_000, b: began - 10.5 * 60_000, cause: 'disk-down', message: 'The disk was full.' });
  return h.sort((x, y) => x.a - y.a);
};
const holeAt = (i, t) => (t < since ? { cause: 'not-recorded' } : holesOf(i).find((h) => t >= h.a && t < h.b));

// ---- who

const link = randomBytes(16).toString('hex');
let admin;
const sessions = new Map();
const tokens = [];
const B32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const b32 = (buf) => [...buf].map((x) => x.toString(2).padStart(8, '0')).join('').match(/.{5}/g).map((x) => B32[parseInt(x, 2)]).join('');
function totp(secret, t = Date.now()) {
  const bits = [...secret].map((c) => B32.indexOf(c).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((x) => parseInt(x, 2)));
  const msg = Buffer.alloc(8);
  msg.writeBigUInt64BE(BigInt(Math.floor(t / 30000)));
  const h = createHmac('sha1', key).update(msg).digest();
  const o = h[19] & 15;
  return String((h.readUInt32BE(o) & 0x7fffffff) % 1e6).padStart(6, '0');
}
let fails = 0;
const trail = [];
const log = (user, action, outcome, kind = '', object = '', detail = '') => trail.unshift({ seq: trail.length + 1, at: new Date().toISOString(), user, via: 'session', remote: '127.0.0.1', device: 'Chromium on Linux', action, kind, object, outcome, rule: 'administrator', detail });

// ---- answers

const policy = readFileSync(path.join(here, '../embed.go'), 'utf8').match(/const policy = ([\s\S]*?)\n\n/)[1].match(/"([^"]*)"/g).map((s) => s.slice(1, -1)).join('');
const json = (res, code, v, extra = {}) => {
  res.writeHead(code, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store', ...extra });
  res.end(JSON.stringify(v));
};
const problem = (res, status, kind, title, detail = '', extra = {}) => json(res, status, { status, kind, title, detail, request_id: randomBytes(4).toString('hex') }, { 'Content-Type': 'application/problem+json', ...extra });
const bodyOf = async (req) => {
  const parts = [];
  for await (const p of req) parts.push(p);
  const s = Buffer.concat(parts).toString();
  return s && req.headers['content-type']?.includes('json') ? JSON.parse(s) : {};
};
const cookie = (req) => /__Host-bartizan=([^;]+)/.exec(req.headers.cookie ?? '')?.[1] ?? '';

async function api(req, res, u) {
  const p = u.pathname.slice('/api/v1'.length);
  const m = req.method;
  const body = m === 'GET' ? {} : await bodyOf(req);
  if (p === '/setup') {
    if (m === 'GET') return json(res, 200, { pending: !admin });
    if (admin) return problem(res, 409, 'conflict', 'Set-up is already done.', 'Log in.');
    if (body.token !== link) return problem(res, 401, 'unauthenticated', 'This set-up link is not valid.', 'Copy the link that Bartizan printed.');
    if ((body.password ?? '').length < 12) return problem(res, 400, 'invalid', 'The password is too short.', 'Use at least 12 characters.');
    admin = { user: body.user, password: body.password, secret: b32(randomBytes(20)) };
    return json(res, 201, { user: body.user, totp_uri: `otpauth://totp/Bartizan:${body.user}?secret=${admin.secret}&issuer=Bartizan`, recovery_codes: Array.from({ length: 8 }, () => randomBytes(5).toString('hex').replace(/(.{5})/, '$1-')), api_token: 'x' });
  }
  if (p === '/session' && m === 'POST') {
    if (fails > 5) return problem(res, 429, 'exhausted', 'Too many wrong log-ins.', 'Wait a while.', { 'Retry-After': '20' });
    if (!admin || body.user !== admin.user || body.password !== admin.password || ![0, -30000, 30000].some((d) => totp(admin.secret, Date.now() + d) === body.code)) {
      fails++;
      log(body.user, 'login', 'refused');
      return problem(res, 401, 'unauthenticated', 'Name, password or code is wrong.', 'Check all three; the code changes every 30 seconds.');
    }
    const id = randomBytes(16).toString('hex');
    sessions.set(id, { id: id.slice(0, 8), created: new Date().toISOString(), seen: new Date().toISOString(), expires: new Date(Date.now() + 12 * 3600_000).toISOString(), remote: '127.0.0.1', device: (req.headers['user-agent'] ?? '').slice(0, 60) });
    log(body.user, 'login', 'allowed');
    return json(res, 201, me(), { 'Set-Cookie': `__Host-bartizan=${id}; Path=/; Secure; HttpOnly; SameSite=Strict` });
  }
  const ses = sessions.get(cookie(req));
  if (!ses) return problem(res, 401, 'unauthenticated', 'You are not logged in.', 'Log in.');
  if (p === '/session') {
    if (m === 'GET') return json(res, 200, me());
    sessions.delete(cookie(req));
    return res.writeHead(204).end();
  }
  if (p === '/sessions') return json(res, 200, { sessions: [...sessions.values()].map((s) => ({ ...s, current: s === ses })) });
  if (p.startsWith('/sessions/')) {
    for (const [k, s] of sessions) if (s.id === p.slice(10)) sessions.delete(k);
    return res.writeHead(204).end();
  }
  if (p === '/tokens') {
    if (m === 'GET') return json(res, 200, { tokens: tokens.map(({ token, ...t }) => t) });
    const t = { id: randomBytes(4).toString('hex'), name: body.name, created: new Date().toISOString(), expires: new Date(Date.now() + body.days * 86400_000).toISOString(), token: 'bzt_' + randomBytes(20).toString('hex') };
    tokens.push(t);
    return json(res, 201, t);
  }
  if (p.startsWith('/tokens/')) {
    const i = tokens.findIndex((t) => t.id === p.slice(8));
    if (i >= 0) tokens.splice(i, 1);
    return res.writeHead(204).end();
  }
  if (p === '/stream-secret') return json(res, 201, { user: admin.user, secret: randomBytes(10).toString('hex'), port_rtsps: 8322, port_rtsp: 0, example: `rtsps://${admin.user}:SECRET@localhost:8322/${cameras[0].id}/main` });
  if (p === '/audit') return json(res, 200, { entries: trail.filter((e) => (!u.searchParams.get('action') || e.action === u.searchParams.get('action')) && (!u.searchParams.get('camera') || e.object === u.searchParams.get('camera'))).slice(0, 50) });
  if (p === '/system')
    return json(res, 200, {
      version: '0.1.0-fake', started: new Date(began).toISOString(), now: new Date().toISOString(), demo: true,
      node: { cpu_seconds: process.cpuUsage().user / 1e6, rss_bytes: process.memoryUsage.rss(), goroutines: 143 },
      storage: { path: 'data/recordings', total_bytes: 2e12, free_bytes: 1.1e12, used_bytes: 4.1e11, bytes_per_day: 1.3e10, warning: '', cameras: cameras.map((c, i) => ({ camera: c.id, name: c.name, bytes: 5e10 + i * 1e9, bytes_per_day: 1.6e9, oldest: new Date(since).toISOString(), asked_days: c.keep.days, holds_days: i === 3 ? 21.4 : 30 })) },
      errors: [{ at: new Date(began - 60_000).toISOString(), where: 'vms/camera', message: 'North fence closed the connection.', count: 3 }], decoder: false, rtsps_port: 8322,
    });
  if (p === '/cameras' && m === 'GET') return json(res, 200, { cameras });
  if (p === '/cameras/probe') {
    await new Promise((r) => setTimeout(r, 700));
    if (!/^rtsps?:\/\//.test(body.url)) return problem(res, 400, 'invalid', 'That is not an RTSP address.', 'It begins with rtsp:// or rtsps://.');
    if (body.password !== 'right') return problem(res, 401, 'unauthenticated', 'The camera does not accept this user name or password.', 'Check both on the camera itself; some cameras have a user of their own for RTSP.');
    const c = media.get('cam-gate').main;
    return json(res, 200, { url: body.url, video: 'H.264', audio: 'AAC', codecs: c.codecs, width: c.w, height: c.h, fps: 25, bitrate: 2_100_000, key_every_ms: 2000, reorder: 0, secure: body.url.startsWith('rtsps'), cert_sha256: 'ab'.repeat(32), cert_trusted: false, transport: 'tcp', clock_offset_ms: 3200, still_mp4: Buffer.concat([c.init, at(c.frames[0], 0)]).toString('base64'), notes: ['The clock of the camera is 3.2 s ahead. Recordings use the clock of Bartizan.'] });
  }
  if (p === '/cameras' && m === 'POST') {
    const id = 'cam-' + randomBytes(3).toString('hex');
    media.set(id, media.get('cam-gate'));
    const c = { ...camera(id, body.name, cameras.length, media.get(id).main, media.get(id).sub), ...body, id, demo: false, has_password: !!body.password };
    delete c.password;
    cameras.push(c);
    tell(c);
    return json(res, 201, c);
  }
  const made = (name, found) => {
    const id = 'cam-' + randomBytes(3).toString('hex');
    media.set(id, media.get(cameras[cameras.length % 8].id));
    const c = { ...camera(id, name, cameras.length, media.get(id).main, media.get(id).sub), demo: false, found };
    cameras.push(c);
    tell(c);
    return c;
  };
  if (answer({ json, problem, cameras, camera: made }, res, m, p, body, admin.user)) return;
  const mm = /^\/cameras\/([^/]+)(?:\/(.*))?$/.exec(p);
  const i = cameras.findIndex((c) => c.id === mm?.[1]);
  if (i < 0) return problem(res, 404, 'not found', 'There is no such camera.');
  const cam = cameras[i];
  const q = u.searchParams.get('quality') === 'main' ? 'main' : 'sub';
  const c = media.get(cam.id)[q];
  if (!mm[2]) {
    if (m === 'GET') return json(res, 200, cam);
    if (m === 'PATCH') {
      const { password, ...rest } = body;
      Object.assign(cam, rest);
      if (body.enabled === false) cam.status.state = 'disabled';
      if (body.enabled === true) cam.status.state = 'live';
      tell(cam);
      return json(res, 200, cam);
    }
    cameras.splice(i, 1);
    return res.writeHead(204).end();
  }
  if (mm[2] === 'whep') return problem(res, 501, 'unsupported', 'This server has no WebRTC.', '');
  const from = Date.parse(u.searchParams.get('from') ?? '');
  const to = Math.min(Date.parse(u.searchParams.get('to') ?? ''), Date.now());
  if (mm[2] === 'timeline') {
    const hs = (since > from ? [{ a: from, b: since, cause: 'not-recorded', message: 'The camera was not there yet.' }] : []).concat(holesOf(i)).filter((h) => h.b > from && h.a < to);
    const spans = [];
    let t = from;
    for (const h of hs) {
      if (h.a > t) spans.push({ from: t, to: h.a });
      t = Math.max(t, h.b);
    }
    if (to > t) spans.push({ from: t, to });
    const iso = (x) => new Date(Math.max(from, Math.min(to, x))).toISOString();
    return json(res, 200, { camera: cam.id, quality: q, from: iso(from), to: iso(to), spans: spans.map((s) => ({ from: iso(s.from), to: iso(s.to), bytes: 1, audio: false })), holes: hs.map((h) => ({ from: iso(h.a), to: iso(h.b), cause: h.cause, message: h.message })) });
  }
  if (mm[2] === 'still.mp4') {
    const t = Math.min(Date.parse(u.searchParams.get('at')), Date.now());
    if (holeAt(i, t)) return problem(res, 404, 'not found', 'Nothing is recorded then.');
    const k = keyBefore(c, indexOf(c, t));
    res.writeHead(200, { 'Content-Type': 'video/mp4', 'Bartizan-At': new Date(msOf(c, k)).toISOString() });
    return res.end(Buffer.concat([c.init, at(frameAt(c, k), 0)]));
  }
  if (mm[2] === 'video.mp4') {
    let k = keyBefore(c, indexOf(c, from));
    while (holeAt(i, msOf(c, k)) && msOf(c, k) < to) k++;
    if (msOf(c, k) >= to) return problem(res, 404, 'not found', 'Nothing is recorded then.');
    const zero = k;
    const end = indexOf(c, to);
    res.writeHead(200, { 'Content-Type': `video/mp4; codecs="${c.codecs}"`, 'Bartizan-From': new Date(msOf(c, zero)).toISOString(), 'Bartizan-To': new Date(to).toISOString() });
    res.write(c.init);
    for (; k < end && !res.destroyed; k++) {
      if (holeAt(i, msOf(c, k))) continue;
      if (!res.write(at(frameAt(c, k), (k - zero) * c.tick))) await new Promise((r) => (res.once('drain', r), res.once('close', r)));
    }
    return res.end();
  }
  return problem(res, 404, 'not found', 'There is no such thing.');
}
const me = () => ({ user: admin.user, role: 'administrator', via: 'session', expires: new Date(Date.now() + 12 * 3600_000).toISOString(), actions: ['live', 'playback', 'export', 'cameras.view', 'cameras.configure', 'ptz', 'system.view', 'audit.view', 'people.configure', 'self'] });

const type = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.html': 'text/html; charset=utf-8' };
const pem = path.join(work, 'key.pem');
if (!existsSync(pem)) execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', pem, '-out', path.join(work, 'cert.pem')], { stdio: 'ignore' });
const server = createServer({ key: readFileSync(pem), cert: readFileSync(path.join(work, 'cert.pem')) }, (req, res) => {
  const u = new URL(req.url, 'https://localhost');
  if (u.pathname.startsWith('/fake/')) return control(u, res);
  if (u.pathname.startsWith('/api/')) return void api(req, res, u).catch((e) => (console.error(e), res.headersSent ? res.destroy() : problem(res, 500, 'internal', String(e))));
  let f = path.join(here, '../dist', u.pathname);
  if (!path.extname(f) || !existsSync(f)) f = path.join(here, '../dist/index.html');
  res.writeHead(200, { 'Content-Type': type[path.extname(f)] ?? 'application/octet-stream', 'Content-Security-Policy': policy, 'Cross-Origin-Opener-Policy': 'same-origin' });
  res.end(readFileSync(f));
});
// Levers for trying states: /fake/down?camera=ID, /fake/up?camera=ID
function control(u, res) {
  const c = cameras.find((x) => x.id === u.searchParams.get('camera'));
  if (!c) return res.writeHead(404).end();
  const down = u.pathname === '/fake/down';
  c.status = { ...c.status, state: down ? 'down' : 'live', since: new Date().toISOString(), cause: down ? 'network-down' : '', message: down ? 'The camera does not answer.' : '', advice: down ? 'Check its power and its network cable; Bartizan tries again every two seconds.' : '' };
  tell(c);
  res.end('ok');
}

const wss = new WebSocketServer({ server, path: '/api/v1/live', handleProtocols: () => 'bartizan.live.1' });
const tell = (c) => wss.clients.forEach((w) => w.send(JSON.stringify({ op: 'camera', camera: c })));
wss.on('connection', (ws, req) => {
  if (!sessions.has(cookie(req))) return ws.close(4401);
  const subs = new Map();
  const head = (id, kind, key, wall) => {
    const b = Buffer.alloc(16);
    b.writeUInt32BE(id);
    b[4] = kind;
    b[5] = key ? 1 : 0;
    b.writeBigInt64BE(BigInt(Math.round(wall)) * 1000000n, 8);
    return b;
  };
  const iv = setInterval(() => {
    for (const [id, s] of subs) {
      const now = indexOf(s.c, Date.now());
      if (s.cam.status.state !== 'live') continue;
      for (; s.next <= now; s.next++) {
        const f = frameAt(s.c, s.next);
        ws.send(Buffer.concat([head(id, 2, f.key, msOf(s.c, s.next)), at(f, (s.next - s.zero) * s.c.tick)]));
      }
    }
  }, 20);
  ws.on('message', (d) => {
    const m = JSON.parse(String(d));
    if (m.op === 'close') return subs.delete(m.id);
    const cam = cameras.find((x) => x.id === m.camera);
    if (!cam) return ws.send(JSON.stringify({ op: 'error', id: m.id, kind: 'not found', title: 'There is no such camera.' }));
    const c = media.get(cam.id)[m.quality];
    const k = keyBefore(c, indexOf(c, Date.now()));
    ws.send(JSON.stringify({ op: 'init', id: m.id, mime: `video/mp4; codecs="${c.codecs}"`, width: c.w, height: c.h, reorder: 0, audio: false }));
    ws.send(Buffer.concat([head(m.id, 1, false, Date.now()), c.init]));
    subs.set(m.id, { cam, c, zero: k, next: k });
  });
  ws.on('close', () => clearInterval(iv));
});
server.listen(port, '127.0.0.1', () => console.log(`https://localhost:${port}/setup#${link}`));
