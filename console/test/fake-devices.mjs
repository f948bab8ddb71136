// The part of fake.mjs about devices: a site of twelve of mixed abilities that
// are found, enrolled (one wants another password, one offers only clear RTSP),
// looked after and steered. Nothing is kept.
const makers = [
  ['Bartizan Lab', 'Plain One', ['S', 'T', 'G'], true],
  ['Aurora', 'AU-200', ['S'], true],
  ['Borealis', 'Q-16', ['S', 'T', 'G', 'M'], true],
  ['Cirrus', 'IPC-4', ['S', 'T'], false],
  ['Dunes', 'DN8', ['S', 'T', 'G'], true],
  ['Ember', 'E-PTZ', ['S', 'T', 'M'], true],
];
const places = ['Gate', 'Lobby', 'Yard', 'Dock', 'Aisle', 'Fence', 'Server room', 'Street', 'Roof', 'Ramp', 'Hall', 'Stairs'];
const site = places.map((place, i) => {
  const [maker, model, profiles, secure] = makers[i % 6];
  return { address: `10.20.0.${11 + i}`, maker, model, profiles, secure, place, ptz: i % 3 === 2, password: i === 4 ? 'another' : 'right', camera: '' };
});
const jobs = new Map();
const devices = new Map();
const steps = ['reach', 'identify', 'password', 'time', 'streams', 'transport', 'test', 'record'];

/** device is what stands behind a camera; the demo's second and sixth have one. */
function device(cam, i) {
  if (!devices.has(cam.id) && (cam.found || i === 1 || i === 5)) {
    const s = cam.found ?? { maker: 'Ember', model: 'E-PTZ', address: `10.20.0.${90 + i}`, ptz: true, secure: true };
    devices.set(cam.id, {
      ptz: s.ptz, at: { pan: 0, tilt: 0, zoom: 0 }, v: undefined, presets: [{ token: 'p1', name: 'Entrance' }, { token: 'p2', name: 'Loading bay' }, { token: 'p3', name: 'Fence corner' }], tours: [{ token: 't1', name: 'Night round', running: false }], held: undefined,
      imaging: { brightness: 50, contrast: 55, saturation: 50, sharpness: 40, ir_cut: 'auto', wdr: false, ranges: { brightness: { min: 0, max: 100 }, contrast: { min: 0, max: 100 }, saturation: { min: 0, max: 100 }, sharpness: { min: 0, max: 100 }} },
      masks: [{ token: 'm1', kind: 'color', polygon: [[0.1, 0.1], [0.35, 0.1], [0.35, 0.4], [0.1, 0.4]] }],
      info: {
        onvif: true, address: s.address, maker: s.maker, model: s.model, firmware: '11.11.7', serial: 'LAB-0' + i + '-77A1', hardware: 'lab 1', reachable: true, checked: new Date().toISOString(),
        can: { ptz: s.ptz, presets: s.ptz, home: s.ptz, tours: s.ptz, imaging: true, masks: true, audio_out: false, events: true, analytics: false, recording: true, signing: false, tls: s.secure, reboot: true, firmware: true },
        clock: { offset_ms: 42, at: new Date().toISOString() }, password: { rotated: false },
        identity: i === 5 ? { state: 'changed', serial: 'LAB-05-77A1', pin: 'ab'.repeat(32), seen_serial: 'LAB-99-0001', seen_pin: 'cd'.repeat(32), since: new Date().toISOString() } : { state: 'pinned', serial: 'LAB-0' + i + '-77A1', pin: 'ab'.repeat(32) },
        settings: [{ name: 'Second stream', wanted: 'H.264 640×360, key picture every 2 s', actual: 'H.264 640×360, key picture every 10 s', drift: true }, { name: 'Clock', wanted: 'by NTP', actual: 'by NTP', drift: false }],
        unsafe: s.secure ? [] : ['This camera offers only clear RTSP: put it behind a site gateway'],
      },
    });
  }
  return devices.get(cam.id);
}

/** answer handles a route of ours; false: it is none. h: json, problem, cameras, camera(name, found), me. */
export function answer(h, res, m, p, body, user) {
  const none = () => (res.writeHead(204).end(), true);
  const ok = (v, code = 200) => (h.json(res, code, v), true);
  const no = (...x) => (h.problem(res, ...x), true);
  if (p === '/discovery')
    return setTimeout(() => ok({ took_ms: 1240, problems: [], found: site.map((s, i) => ({ key: 'urn-' + i, address: s.address, name: s.place, maker: s.maker, model: s.model, hardware: 'lab 1', location: i % 2 ? 'North' : 'South', xaddr: `http://${s.address}/onvif/device_service`, secure: s.secure, profiles: s.profiles, camera: s.camera || undefined, odd: s.maker === 'Cirrus' ? 'it says its address is 192.168.1.108' : undefined, open: s.maker === 'Aurora' })) }), 900), true;
  if (p === '/enrolments') {
    if (!body.devices?.length || body.devices.length > 64) return no(400, 'invalid', 'Name one to 64 devices.');
    const id = 'e' + Math.random().toString(36).slice(2, 8);
    const job = { id, done: false, devices: body.devices.map((d) => ({ address: d.address, name: d.name, state: 'waiting', steps: [], unsafe: [] })) };
    jobs.set(id, job);
    job.devices.forEach((d, i) => {
      const s = site.find((x) => d.address.includes(x.address)) ?? site[0];
      let k = 0;
      const tick = () => {
        const step = steps[k];
        d.state = 'working';
        d.step = step;
        if (step === 'reach' && body.devices[i].password !== s.password) {
          d.state = 'failed';
          d.steps.push({ step, outcome: 'failed', message: 'the camera did not accept the log-in' });
          d.title = 'The camera does not accept this user name or password';
          d.detail = 'Check both on its label or its own page, and try again';
          job.done = job.devices.every((x) => x.state === 'done' || x.state === 'failed');
          return;
        }
        const clear = step === 'transport' && !s.secure;
        if (clear) d.unsafe.push('This camera offers only clear RTSP: put it behind a site gateway');
        d.steps.push({ step, outcome: clear ? 'skipped' : ['password', 'time', 'streams'].includes(step) ? 'changed' : 'ok', message: { identify: `${s.maker} ${s.model}, firmware 1.0`, time: 'it was 7 h behind', streams: 'second stream H.264 640×360, a key picture every 2 s', transport: clear ? 'it has no TLS' : 'RTSP over TLS, certificate pinned' }[step] ?? '' });
        if (++k < steps.length) return setTimeout(tick, 150 + 40 * i);
        const c = h.camera(d.name || s.place, s);
        s.camera = d.camera = c.id;
        d.state = 'done';
        job.done = job.devices.every((x) => x.state === 'done' || x.state === 'failed');
      };
      setTimeout(tick, 300 + 120 * i);
    });
    return ok({ id }, 202);
  }
  if (p.startsWith('/enrolments/')) return jobs.has(p.slice(12)) ? ok(jobs.get(p.slice(12))) : no(404, 'not-found', 'There is no such enrolment.', 'It is kept for an hour.');
  const mm = /^\/cameras\/([^/]+)\/(device|ptz|imaging|masks)(?:\/(.*))?$/.exec(p);
  const i = h.cameras.findIndex((c) => c.id === mm?.[1]);
  if (i < 0) return false;
  const d = device(h.cameras[i], i);
  if (mm[2] === 'device' && !mm[3]) return ok(d?.info ?? { onvif: false, reachable: true });
  if (!d || (mm[2] === 'ptz' && !d.ptz)) return no(501, 'unsupported', 'This camera cannot do that.');
  if (mm[2] === 'device') {
    if (mm[3] === 'approve') d.info.identity = { state: 'pinned', serial: body.serial, pin: body.pin };
    if (mm[3] === 'check') d.info.checked = new Date().toISOString();
    if (mm[3] === 'prepare') for (const s of d.info.settings) Object.assign(s, { actual: s.wanted, drift: false });
    if (mm[3] === 'password') d.info.password = { rotated: true, at: new Date().toISOString() };
    return mm[3] === 'password' ? none() : ok({}, mm[3] === 'reboot' ? 202 : 200);
  }
  if (mm[2] === 'imaging') {
    if (m === 'PATCH') Object.assign(d.imaging, body);
    return ok(d.imaging);
  }
  if (mm[2] === 'masks') {
    if (m === 'PUT') d.masks = body.masks.map((x, k) => ({ token: 'm' + k, ...x }));
    return ok({ masks: d.masks, kinds: ['color', 'pixelated'], most: 4 });
  }
  const clamp = (x, lo) => Math.max(lo, Math.min(1, x));
  const settle = () => {
    if (!d.v) return;
    const s = (Math.min(Date.now(), d.v.until) - d.v.from) / 1000;
    d.at = { pan: clamp(d.at.pan + d.v.pan * s * 0.4, -1), tilt: clamp(d.at.tilt + d.v.tilt * s * 0.4, -1), zoom: clamp(d.at.zoom + d.v.zoom * s * 0.4, 0) };
    d.v = Date.now() < d.v.until ? { ...d.v, from: Date.now() } : undefined;
  };
  settle();
  if (m === 'POST') {
    d.held = { user, until: new Date(Date.now() + 5000).toISOString() };
    const scale = 0.3 * (1 - d.at.zoom * 0.9);
    if (body.op === 'move') d.v = { ...body, from: Date.now(), until: Date.now() + (body.ms ?? 1000) };
    else d.v = undefined;
    if (body.op === 'relative') d.at = { pan: clamp(d.at.pan + (body.pan ?? 0), -1), tilt: clamp(d.at.tilt + (body.tilt ?? 0), -1), zoom: clamp(d.at.zoom + (body.zoom ?? 0), 0) };
    if (body.op === 'center') d.at = { ...d.at, pan: clamp(d.at.pan + (body.x - 0.5) * scale, -1), tilt: clamp(d.at.tilt - (body.y - 0.5) * scale, -1) };
    if (body.op === 'box') d.at = { pan: clamp(d.at.pan + (body.x + body.w / 2 - 0.5) * scale, -1), tilt: clamp(d.at.tilt - (body.y + body.h / 2 - 0.5) * scale, -1), zoom: clamp(d.at.zoom + (1 - body.w) * 0.4, 0) };
    if (body.op === 'preset') d.at = d.presets.find((x) => x.token === body.token)?.at ?? { pan: -0.4 + 0.4 * d.presets.findIndex((x) => x.token === body.token), tilt: 0.1, zoom: 0.2 };
    if (body.op === 'home') d.at = { pan: 0, tilt: 0, zoom: 0 };
    if (body.op === 'save') d.presets.push({ token: 'p' + Date.now(), name: body.name, at: d.at });
    if (body.op === 'remove') d.presets = d.presets.filter((x) => x.token !== body.token);
    if (body.op === 'tour') for (const t of d.tours) t.running = t.token === body.token && body.run;
    return ok({ position: d.at });
  }
  const held = d.held && Date.parse(d.held.until) > Date.now() ? d.held : undefined;
  return ok({ position: d.at, moving: !!d.v, presets: d.presets, tours: d.tours, home: true, held, limits: { pan: [-1, 1], tilt: [-1, 1], zoom: [0, 1], centers: true } });
}
