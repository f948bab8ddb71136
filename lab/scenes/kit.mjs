// The scenery shared by all scenes: materials, people, cars, and movement
// that repeats exactly after LOOP seconds, so that a clip can be played in a
// circle without a seam. Everything is random from one seed: the same pictures
// come out each time.
import * as T from 'three';

export const LOOP = 10;
const TAU = 2 * Math.PI;

let seed = 7;
export const reseed = () => { seed = 7; };
export const rnd = () => { seed = (seed * 16807) % 2147483647; return seed / 2147483647; };
export const pick = (list) => list[Math.floor(rnd() * list.length)];

// wave swings between -1 and 1, k whole times a loop.
export const wave = (t, k, phase = 0) => Math.sin((TAU * k * t) / LOOP + phase);
// turn is how far round the loop t is, 0 to 1, shifted by phase.
export const turn = (t, phase = 0) => (((t / LOOP + phase) % 1) + 1) % 1;

export function texture(draw, size = 256, repeat = [1, 1]) {
  const c = document.createElement('canvas');
  c.width = c.height = size;
  draw(c.getContext('2d'), size);
  const t = new T.CanvasTexture(c);
  t.wrapS = t.wrapT = T.RepeatWrapping;
  t.repeat.set(...repeat);
  t.colorSpace = T.SRGBColorSpace;
  t.anisotropy = 4;
  return t;
}
export const grain = ([r, g, b], amount, repeat) => texture((x, s) => {
  const d = x.createImageData(s, s);
  for (let i = 0; i < s * s; i++) {
    const n = (rnd() - 0.5) * amount;
    d.data.set([r + n, g + n, b + n, 255], i * 4);
  }
  x.putImageData(d, 0, 0);
}, 256, repeat);
export const asphalt = () => grain([92, 94, 98], 30, [10, 10]);
export const concrete = () => grain([150, 148, 142], 22, [6, 6]);
export const brick = (repeat) => texture((x, s) => {
  x.fillStyle = '#8d8378';
  x.fillRect(0, 0, s, s);
  for (let r = 0; r < 8; r++) for (let c = -1; c < 4; c++) {
    const v = rnd() * 24;
    x.fillStyle = `rgb(${128 + v},${78 + v * 0.7},${62 + v * 0.6})`;
    x.fillRect(c * 64 + (r % 2) * 32 + 2, r * 32 + 2, 60, 28);
  }
}, 256, repeat);
export const panel = (ground, line, repeat) => texture((x, s) => {
  x.fillStyle = ground;
  x.fillRect(0, 0, s, s);
  x.fillStyle = line;
  for (let i = 0; i < 8; i++) x.fillRect(i * 32, 0, 2, s);
}, 256, repeat);

export const matte = (o) => new T.MeshStandardMaterial({roughness: 0.9, ...o});
export const paint = (color) => matte({color});
export const glass = (color = 0x1b2a38) => matte({color, roughness: 0.1, metalness: 0.8});
export const lamp = (color) => new T.MeshBasicMaterial({color});

export function mesh(geometry, material, x = 0, y = 0, z = 0) {
  const m = new T.Mesh(geometry, material);
  m.position.set(x, y, z);
  m.castShadow = m.receiveShadow = true;
  return m;
}
export const box = (w, h, d, m, x, y, z) => mesh(new T.BoxGeometry(w, h, d), m, x, y, z);
export function floor(w, d, m) {
  const p = new T.Mesh(new T.PlaneGeometry(w, d), m);
  p.rotation.x = -Math.PI / 2;
  p.receiveShadow = true;
  return p;
}

function wheel(r, w, x, y, z) {
  const m = mesh(new T.CylinderGeometry(r, r, w, 20), paint(0x131313), x, y, z);
  m.rotation.z = Math.PI / 2;
  return m;
}

// person walks by walk(t, k): k whole strides a loop.
export function person(shirt, trousers) {
  const g = new T.Group();
  const limb = (r, l, m) => mesh(new T.CapsuleGeometry(r, l, 6, 12), m);
  const hung = (x, y, drop, part) => {
    const p = new T.Group();
    part.position.y = -drop;
    p.add(part);
    p.position.set(x, y, 0);
    g.add(p);
    return p;
  };
  const torso = limb(0.22, 0.42, paint(shirt));
  torso.position.y = 1.18;
  g.add(torso, mesh(new T.SphereGeometry(0.15, 16, 12), paint(0xc99b7a), 0, 1.66, 0));
  g.add(mesh(new T.SphereGeometry(0.16, 16, 8, 0, 6.3, 0, 1.6), paint(0x2a211b), 0, 1.68, 0));
  g.legs = [-0.11, 0.11].map((x) => hung(x, 0.84, 0.38, limb(0.095, 0.6, paint(trousers))));
  g.arms = [-0.29, 0.29].map((x) => hung(x, 1.42, 0.28, limb(0.07, 0.45, paint(shirt))));
  g.walk = (t, k = 11, phase = 0) => {
    const s = wave(t, k, phase) * 0.55;
    g.legs[0].rotation.x = s;
    g.legs[1].rotation.x = -s;
    g.arms[0].rotation.x = -s * 0.7;
    g.arms[1].rotation.x = s * 0.7;
    g.position.y = Math.abs(wave(t, k, phase + Math.PI / 2)) * 0.03;
  };
  return g;
}

export function car(color) {
  const g = new T.Group();
  const body = matte({color, roughness: 0.35, metalness: 0.5});
  g.add(box(1.8, 0.55, 4.3, body, 0, 0.62, 0), box(1.25, 0.04, 1.9, body, 0, 1.44, -0.2));
  const cabin = mesh(new T.CylinderGeometry(0.95, 1.25, 0.55, 4, 1), matte({color: 0x10161c, roughness: 0.15, metalness: 0.7}), 0, 1.15, -0.2);
  cabin.rotation.y = Math.PI / 4;
  cabin.scale.set(0.98, 1, 1.55);
  g.add(cabin);
  for (const x of [-0.85, 0.85]) for (const z of [-1.35, 1.35]) g.add(wheel(0.34, 0.24, x, 0.34, z));
  for (const x of [-0.6, 0.6]) {
    g.add(box(0.35, 0.14, 0.05, matte({color: 0xffffff, emissive: 0xfff2cc, emissiveIntensity: 1.2}), x, 0.68, 2.16));
    g.add(box(0.35, 0.14, 0.05, matte({color: 0x880000, emissive: 0xaa0000, emissiveIntensity: 0.8}), x, 0.72, -2.16));
  }
  return g;
}

export function lorry() {
  const g = new T.Group();
  g.add(box(2.5, 2.7, 7, matte({map: panel('#e7eaec', '#d5d9dc', [4, 1])}), 0, 2.2, 0));
  g.add(box(2.4, 2.2, 1.8, matte({color: 0x1f4f86, roughness: 0.4}), 0, 1.7, 4.7), box(2.1, 0.8, 0.05, glass(0x0e1419), 0, 2.2, 5.63));
  for (const z of [-2.6, -1.6, 4.4]) for (const x of [-1.05, 1.05]) g.add(wheel(0.48, 0.35, x, 0.48, z));
  return g;
}

export function forklift() {
  const g = new T.Group();
  g.add(box(1.1, 0.8, 1.6, matte({color: 0xe0a11b, roughness: 0.5}), 0, 0.7, 0), box(1, 0.06, 1, paint(0x222222), 0, 2, -0.1));
  for (const x of [-0.45, 0.45]) for (const z of [-0.5, 0.4]) g.add(box(0.06, 1.2, 0.06, paint(0x222222), x, 1.4, z));
  g.add(box(0.7, 2, 0.1, paint(0x33373b), 0, 1.2, 0.9), box(0.9, 0.7, 0.8, paint(0xb88a55), 0, 0.8, 1.5));
  g.beacon = box(0.16, 0.16, 0.16, lamp(0xff9a1f), 0, 2.12, -0.4);
  g.add(g.beacon);
  for (const x of [-0.5, 0.5]) for (const z of [-0.55, 0.55]) g.add(wheel(0.28, 0.2, x, 0.28, z));
  return g;
}

// trees stand where `at` says; the function returned lets them sway.
export function trees(scene, n, color, at) {
  const all = [];
  for (let i = 0; i < n; i++) {
    const h = 3 + rnd() * 4;
    const [x, z] = at(i);
    const cone = mesh(new T.ConeGeometry(1.2 + rnd(), h, 8), paint(color), 0, h / 2 + 0.5, 0);
    const t = new T.Group();
    t.add(cone, box(0.2, 0.7, 0.2, paint(0x4b3a2a), 0, 0.3, 0));
    t.position.set(x, 0, z);
    t.k = 2 + Math.floor(rnd() * 3);
    t.phase = rnd() * TAU;
    all.push(t);
    scene.add(t);
  }
  return (t) => all.forEach((o) => {
    o.rotation.z = wave(t, o.k, o.phase) * 0.035;
    o.rotation.x = wave(t, o.k - 1, o.phase) * 0.02;
  });
}

// stage is a scene with sky light, one sun and the camera.
export function stage(o) {
  const scene = new T.Scene();
  scene.background = new T.Color(o.sky);
  if (o.fog) scene.fog = new T.Fog(o.sky, ...o.fog);
  scene.add(new T.HemisphereLight(o.above ?? 0xdfe9f5, o.below ?? 0x50483e, o.ambient ?? 1.1));
  const sun = new T.DirectionalLight(o.sunColor ?? 0xfff0dc, o.sun ?? 2.4);
  sun.position.set(...(o.sunAt ?? [12, 18, 8]));
  sun.castShadow = true;
  sun.shadow.mapSize.set(1024, 1024);
  const k = o.shadow ?? 22;
  Object.assign(sun.shadow.camera, {left: -k, right: k, top: k, bottom: -k, far: 70});
  sun.shadow.bias = -0.0006;
  scene.add(sun);
  const camera = new T.PerspectiveCamera(o.fov ?? 58, 16 / 9, 0.1, 200);
  camera.position.set(...o.from);
  camera.lookAt(...o.at);
  return {scene, camera};
}

const ease = (f) => f * f * (3 - 2 * f);

// keyed moves o through keys [t, x, z, heading]; heading 0 looks to +z, a
// quarter turn to +x. Equal neighbours make it stand still.
export function keyed(o, t, keys) {
  let i = 0;
  while (i < keys.length - 2 && t >= keys[i + 1][0]) i++;
  const [a, b] = [keys[i], keys[i + 1]];
  const f = Math.max(0, Math.min(1, (t - a[0]) / (b[0] - a[0])));
  const g = ease(f);
  o.position.x = a[1] + (b[1] - a[1]) * f;
  o.position.z = a[2] + (b[2] - a[2]) * f;
  o.rotation.y = a[3] + (b[3] - a[3]) * g;
  return a[1] !== b[1] || a[2] !== b[2];
}

// path is a smooth line through points [x, z]; following it at u (0 to 1)
// moves at even speed and looks ahead.
export function path(points, closed = false) {
  const c = new T.CatmullRomCurve3(points.map(([x, z]) => new T.Vector3(x, 0, z)), closed, 'catmullrom', 0.35);
  return (o, u) => {
    const p = c.getPointAt(u), d = c.getTangentAt(u);
    o.position.x = p.x;
    o.position.z = p.z;
    o.rotation.y = Math.atan2(d.x, d.z);
    return o;
  };
}
