// The eight scenes. Each returns {scene, camera, move}; move(t) sets the
// picture for second t of the loop, and move(0) equals move(LOOP). Something
// moves in every scene at every moment, so that a frozen tile is easily told.
import * as T from 'three';
import {asphalt, box, brick, car, concrete, floor, forklift, glass, grain, keyed, lamp, lorry, matte, mesh, paint, panel, path, person, pick,
  rnd, stage, texture, trees, turn, wave} from './kit.mjs';

const ramp = (t, a, b) => Math.max(0, Math.min(1, (t - a) / (b - a)));

function gate() {
  const {scene: s, camera} = stage({sky: 0xb9c8d6, fog: [30, 90], from: [-7, 6.2, 12], at: [1, 0.9, -3], fov: 50, ambient: 1.5, sun: 3, sunAt: [-14, 16, 10]});
  s.add(floor(120, 120, matte({map: asphalt()})));
  for (const x of [-24.5, 25.5]) s.add(box(40, 3.2, 0.5, matte({map: brick([10, 1])}), x, 1.6, -6));
  s.add(box(2.6, 2.8, 2.6, matte({map: panel('#cfd4d8', '#b5bbc0', [1, 1])}), 6.6, 1.4, -3.2));
  s.add(box(2.9, 0.2, 2.9, paint(0x3b444d), 6.6, 2.9, -3.2), box(1.6, 0.9, 0.05, glass(0x18212a), 6.6, 1.7, -1.87));
  for (let i = -1; i < 6; i++) s.add(box(0.15, 0.02, 2.2, paint(0xe8e4d8), -0.6, 0.02, i * 4 + 2));
  const arm = new T.Group();
  const stripes = texture((x, q) => {
    for (let i = 0; i < 8; i++) {
      x.fillStyle = i % 2 ? '#d33a2c' : '#f2efe8';
      x.fillRect(i * 32, 0, 32, q);
    }
  });
  arm.add(box(7.4, 0.14, 0.14, matte({map: stripes}), -3.7, 0, 0));
  arm.position.set(4.6, 1.05, -3.4);
  s.add(arm, box(0.4, 1.2, 0.4, paint(0xd9a520), 4.6, 0.6, -3.4));
  const signal = box(0.24, 0.24, 0.1, lamp(0xff3020), 4.6, 1.45, -3.15);
  s.add(signal);
  const sway = trees(s, 26, 0x39583a, (i) => [-40 + i * 3.3, -14 - rnd() * 10]);
  s.add(box(0.1, 6.6, 0.1, paint(0xd8dde0), -5.6, 3.3, -5.2));
  const cloth = new T.PlaneGeometry(2.2, 1.3, 12, 4);
  const rest = cloth.attributes.position.array.slice();
  const flag = mesh(cloth, matte({color: 0x2d6fb0, side: T.DoubleSide}), -4.45, 5.85, -5.2);
  s.add(flag);
  const k = car(0x7c8791), guard = person(0xd77a1d, 0x1d2a3a);
  guard.position.set(4.9, 0, -0.6);
  guard.rotation.y = -1.4;
  s.add(k, guard);
  const keys = [[0, 1.6, 22, Math.PI], [2.6, 1.6, 4.5, Math.PI], [3.6, 1.6, 0.8, Math.PI], [5.4, 1.6, 0.8, Math.PI], [6.4, 1.6, -3, Math.PI],
    [7.2, 1.8, -7.6, 2.7], [7.9, 6, -9.2, Math.PI / 2], [10, 24, -9.2, Math.PI / 2]];
  return {scene: s, camera, move(t) {
    sway(t);
    const p = cloth.attributes.position;
    for (let i = 0; i < p.count; i++) {
      const x = rest[i * 3] + 1.1;
      p.array[i * 3 + 2] = wave(t, 14, -x * 2.6) * 0.16 * x;
    }
    p.needsUpdate = true;
    cloth.computeVertexNormals();
    keyed(k, t, keys);
    const open = ramp(t, 4.2, 5.4) - ramp(t, 8.2, 9.4);
    arm.rotation.z = -open * 1.25;
    signal.material.color.set(open > 0.95 ? 0x30e070 : wave(t, 10) > 0 ? 0xff3020 : 0x501008);
    guard.arms[1].rotation.x = -2.2 * (ramp(t, 2.6, 3) - ramp(t, 5.6, 6));
    guard.arms[0].rotation.x = 0.25 * wave(t, 4);
    guard.rotation.y = -1.4 + 0.3 * wave(t, 2);
  }};
}

function lobby() {
  const {scene: s, camera} = stage({sky: 0xcfd6da, from: [-6.2, 4.3, 6.4], at: [1.2, 0.7, -2.6], fov: 64, ambient: 1.7, sun: 1.5, sunAt: [6, 12, 6]});
  const tile = texture((x, q) => {
    x.fillStyle = '#c9c4ba';
    x.fillRect(0, 0, q, q);
    x.strokeStyle = '#a9a399';
    x.lineWidth = 3;
    x.strokeRect(0, 0, q, q);
    x.fillStyle = '#d6d1c8';
    x.fillRect(4, 4, q / 2 - 6, q / 2 - 6);
    x.fillRect(q / 2 + 2, q / 2 + 2, q / 2 - 6, q / 2 - 6);
  }, 256, [14, 14]);
  s.add(floor(34, 34, matte({map: tile, roughness: 0.3})));
  s.add(box(34, 5, 0.2, paint(0xe7e4dd), 0, 2.5, -9), box(0.2, 5, 34, paint(0xddd9d0), 10, 2.5, 0));
  const pane = (color, opacity) => matte({color, opacity, transparent: true, roughness: 0.05, metalness: 0.3});
  for (let i = 0; i < 5; i++) s.add(box(2.2, 3.4, 0.08, pane(0x8fb2c9, 0.8), -8 + i * 2.5, 1.7, -8.85));
  s.add(box(4.6, 1.1, 1, matte({map: panel('#6b4a30', '#5b3e28', [3, 1])}), 5.2, 0.55, -4), box(4.8, 0.08, 1.2, paint(0xe9e7e2), 5.2, 1.14, -4));
  for (const x of [-2.6, -1.2, 0.2, 1.6]) s.add(box(0.22, 1.05, 1.4, matte({color: 0x9ea5aa, metalness: 0.6, roughness: 0.3}), x, 0.52, -1));
  const flaps = [-1.9, -0.5, 0.9].map((x) => box(1.1, 0.7, 0.04, pane(0x9fd0e6, 0.45), x, 0.6, -1));
  s.add(...flaps);
  s.add(box(2.4, 0.45, 0.9, paint(0x35566b), -6.8, 0.35, -5), box(2.4, 0.7, 0.25, paint(0x35566b), -6.8, 0.8, -5.4));
  for (const [x, z] of [[8.8, -8], [-9, -7.8]]) {
    s.add(box(0.7, 0.7, 0.7, paint(0xefeae2), x, 0.35, z));
    for (let i = 0; i < 7; i++) {
      const leaf = mesh(new T.ConeGeometry(0.35, 1.5, 5), paint(0x3f7a45), x + (rnd() - 0.5) * 0.5, 1.2 + rnd() * 0.5, z + (rnd() - 0.5) * 0.5);
      leaf.rotation.set(rnd() - 0.5, rnd() * 3, rnd() - 0.5);
      s.add(leaf);
    }
  }
  // A screen on the wall: bars that rise and fall.
  s.add(box(3.4, 1.9, 0.1, paint(0x101418), 6.2, 3.1, -8.85));
  const bars = [];
  for (let i = 0; i < 8; i++) {
    const b = box(0.28, 1, 0.02, lamp([0x39a7ff, 0x2ee08a][i % 2]), 4.95 + i * 0.36, 3.1, -8.78);
    bars.push(b);
    s.add(b);
  }
  const clerk = person(0x1d2733, 0x1d2733), p = person(0x7e8a94, 0x2a2e38), q = person(0xb23a48, 0x20242c);
  clerk.position.set(5.6, 0, -4.9);
  s.add(clerk, p, q);
  const out = path([[-3.5, -10], [-2, -5], [-0.5, -2.5], [-0.5, 0.5], [-0.4, 8]]), into = path([[4, 8], [-1.4, 2.4], [-1.9, 0.6], [-1.9, -2.4], [-4, -10]]);
  return {scene: s, camera, move(t) {
    out(p, turn(t));
    p.walk(t, 13);
    into(q, turn(t, 0.35));
    q.walk(t, 13, 1);
    for (const [flap, who] of [[flaps[0], q], [flaps[1], p]]) flap.scale.x = Math.min(1, Math.max(0.12, (Math.abs(who.position.z + 1) - 0.5) / 1.2));
    clerk.rotation.y = wave(t, 1) * 0.6;
    clerk.arms[0].rotation.x = -0.8 + 0.3 * wave(t, 6);
    bars.forEach((b, i) => {
      b.scale.y = 0.8 + 0.55 * wave(t, 2 + (i % 4), i);
      b.position.y = 2.35 + b.scale.y / 2;
    });
  }};
}

function parking() {
  const {scene: s, camera} = stage({sky: 0xaebdcc, fog: [40, 110], from: [-15, 9.5, 15], at: [1, 0, -2], fov: 50, ambient: 1.6, sun: 3, sunAt: [10, 20, 14], shadow: 30});
  s.add(floor(140, 140, matte({map: asphalt()})));
  for (const z of [-9, 3]) for (let i = 0; i < 11; i++) s.add(box(0.12, 0.02, 5, paint(0xe9e6dc), -15 + i * 3, 0.02, z));
  const colors = [0x7a1f1f, 0x2b3f5c, 0xbfc4c9, 0x2d2f33, 0x5d6b55, 0xd8d5ce, 0x30506b, 0x8b8f94, 0x403a35];
  let j = 0;
  const parked = (x, z, heading) => {
    const k = car(colors[(j++ * 4) % 9]);
    k.position.set(x, 0, z);
    k.rotation.y = heading;
    s.add(k);
  };
  for (let i = 0; i < 10; i++) {
    if (i !== 4 && i !== 7) parked(-13.5 + i * 3, -9, 0);
    if (i % 3 !== 1) parked(-13.5 + i * 3, 3, Math.PI);
  }
  s.add(box(46, 7, 3, matte({map: panel('#9aa5ad', '#87929a', [8, 1])}), 0, 3.5, -17));
  for (let i = 0; i < 9; i++) s.add(box(3, 1.6, 0.1, glass(), -18 + i * 4.4, 4.2, -15.4));
  for (const x of [-8, 8]) s.add(box(0.16, 7, 0.16, paint(0x4a4f54), x, 3.5, -5.8), box(1.4, 0.12, 0.4, paint(0x33373b), x, 7, -5.8));
  const sway = trees(s, 6, 0x41603d, (i) => [17 + (i % 3) * 3.2, -14 + i * 1.8]);
  // One car leaves its bay, drives out of the picture and comes back.
  const k = car(0xe3e6e9), p = person(0x394a3a, 0x2b2b30), q = person(0x8a2f3c, 0x1e2230);
  s.add(k, p, q);
  const keys = [[0, -1.5, -9, 0], [1.2, -1.5, -5.4, 0.25], [1.9, 0.4, -3, 1.2], [2.6, 4, -2.2, Math.PI / 2], [4.2, 15, -1.8, Math.PI / 2], [4.8, 18.5, 1.5, 0.4],
    [6, 20, 24, 0], [6.05, 20, 24, Math.PI], [7.1, 17, -1, Math.PI], [7.5, 13, -3.4, Math.PI * 1.5], [8.6, 0, -3.4, Math.PI * 1.5], [9, -3.2, -2.4, Math.PI * 1.65],
    [9.4, -2.2, -4.8, Math.PI * 1.88], [10, -1.5, -9, Math.PI * 2]];
  const patrol = path([[-7, -1.3], [-3.5, -0.6], [0, -1.1], [-3.5, -1.9]], true), stroll = path([[4, -0.7], [8, 0], [12, -0.6], [8, -1]], true);
  return {scene: s, camera, move(t) {
    sway(t);
    keyed(k, t, keys);
    patrol(p, turn(t));
    stroll(q, turn(t, 0.4));
    p.walk(t, 12);
    q.walk(t, 12, 2);
  }};
}

function dock() {
  const {scene: s, camera} = stage({sky: 0x9fb0bf, fog: [30, 80], from: [-9, 5.4, 10.5], at: [1, 1.2, -3], sunAt: [-10, 14, 14]});
  s.add(floor(100, 100, matte({map: concrete()})), box(40, 8, 1, matte({map: panel('#c6ccd1', '#aab2b8', [14, 1])}), 4, 4, -8));
  const doors = [];
  for (let i = 0; i < 4; i++) {
    const x = -8 + i * 6;
    s.add(box(3.4, 3.6, 0.15, paint(0x1a1e22), x, 2.6, -7.46));
    doors.push(box(3.4, 3.6, 0.2, matte({map: panel('#e9e9e4', '#c9c9c2', [0.2, 3])}), x, 2.6, -7.4));
    for (const side of [-1.95, 1.95]) s.add(box(0.35, 4.4, 0.5, paint(0x222426), x + side, 2.5, -7.3));
    s.add(box(0.9, 0.9, 0.05, paint(0xf0c419), x + 2.7, 4.6, -7.45));
  }
  s.add(...doors);
  const truck = lorry();
  truck.position.set(4, 0, -2.6);
  s.add(truck);
  for (let i = 0; i < 5; i++) {
    const x = -9 + (i % 3) * 1.6, z = -5.2 + Math.floor(i / 3) * 1.4;
    s.add(box(1.2, 0.14, 1, paint(0x9b7447), x, 0.08, z), box(1, 0.5 + rnd() * 0.7, 0.8, paint([0xb88a55, 0xa67c4a, 0xc79a63][i % 3]), x, 0.6, z));
  }
  const lift = forklift(), p = person(0xf08a24, 0x25303d), q = person(0xf08a24, 0x2a2a2e);
  s.add(lift, p, q);
  q.position.set(-0.4, 0, -5.9);
  q.rotation.y = 0.4;
  const round = path([[-6, 4.5], [-2.5, 3.2], [-1, 0], [-1.8, -3.6], [-4.4, -3.2], [-6.4, 0]], true), walk = path([[18, 6.5], [9, 4.6], [1, 4.4], [-1, 6.5], [-2.4, 11]]);
  return {scene: s, camera, move(t) {
    round(lift, turn(t));
    lift.beacon.visible = wave(t, 20) > 0;
    walk(p, turn(t));
    p.walk(t, 14);
    q.arms[0].rotation.x = -1.6 - 0.6 * wave(t, 5);
    q.rotation.y = 0.4 + 0.3 * wave(t, 2);
    const open = ramp(t, 1, 3.5) - ramp(t, 6, 8.5);
    doors[1].scale.y = 1 - 0.8 * open;
    doors[1].position.y = 2.6 + 1.44 * open;
  }};
}

function aisle() {
  const {scene: s, camera} = stage({sky: 0x2b2f33, fog: [14, 44], from: [0, 4.7, 9], at: [0, 0.6, -6], fov: 60, ambient: 1.5, sun: 1.1, sunAt: [2, 14, 4],
    above: 0xeef3f8, below: 0x666058});
  s.add(floor(60, 80, matte({map: grain([120, 122, 120], 14, [10, 10]), roughness: 0.45})));
  const upright = paint(0x2a5ea8), beam = paint(0xe07a1f), carton = () => paint(pick([0xb88a55, 0xa67c4a, 0xc79a63, 0x8f6a3d, 0xd9dcde]));
  for (const sx of [-3.6, 3.6]) for (let z = 6; z > -34; z -= 3) {
    s.add(box(0.12, 6, 0.12, upright, sx + 0.6 * Math.sign(sx), 3, z));
    for (const y of [0.1, 1.7, 3.3, 4.9]) {
      s.add(box(0.1, 0.14, 3, beam, sx - 0.62 * Math.sign(sx), y, z - 1.5));
      for (const [dz, chance] of [[0.8, 0.12], [2.2, 0.2]]) if (rnd() > chance) {
        const h = 0.6 + rnd() * 0.7;
        s.add(box(1.2, h, 1.1, carton(), sx, y + h / 2 + 0.08, z - dz));
      }
    }
  }
  for (const x of [-2.5, 2.5]) s.add(box(0.1, 0.01, 60, paint(0xe8c51d), x, 0.01, -12));
  const tubes = [];
  for (let z = 4; z > -34; z -= 6) {
    const l = box(0.3, 0.06, 2.4, lamp(0xf6fbff), 0, 6.6, z);
    tubes.push(l);
    s.add(l);
  }
  // Four porters a quarter of the way apart: each takes the next one's place in a loop.
  const line = path([[0.9, -36], [0.2, -20], [0.8, -8], [0.4, 12]]), back = path([[-1.5, 12], [-1.2, -10], [-1.5, -38]]);
  const porters = [0, 1, 2, 3].map(() => {
    const p = person(0x2b4a6f, 0x22252b), cart = new T.Group();
    cart.add(box(0.8, 0.1, 1.3, paint(0x2f6db3), 0, 0.3, 1.1), box(0.7, 0.5, 0.6, paint(0xb88a55), 0, 0.6, 1.2));
    p.add(cart);
    s.add(p);
    return p;
  });
  const lift = forklift();
  s.add(lift);
  return {scene: s, camera, move(t) {
    porters.forEach((p, i) => {
      line(p, Math.min(0.9999, (turn(t) + i) / 4));
      p.walk(t, 9);
      p.arms.forEach((a) => { a.rotation.x = -0.9; });
    });
    back(lift, turn(t, 0.25));
    lift.beacon.visible = wave(t, 20) > 0;
    tubes[2].visible = wave(t, 3) > -0.8 || wave(t, 40) > 0;
  }};
}

function perimeter() {
  const {scene: s, camera} = stage({sky: 0x10151b, fog: [18, 60], from: [-4, 5, 10], at: [3, 0.4, -8], fov: 56, ambient: 1.1, sun: 1.3, sunColor: 0xbfd3ff,
    sunAt: [-8, 16, 12], above: 0x8fa6c4, below: 0x1c1f22});
  s.add(floor(140, 140, matte({map: grain([84, 92, 78], 44, [14, 14])})), box(5, 0.03, 80, matte({map: asphalt()}), -3, 0.02, -20));
  for (let z = 12; z > -50; z -= 3) s.add(box(0.09, 2.8, 0.09, paint(0x8e969c), 2.6, 1.4, z));
  const net = texture((x, q) => {
    x.strokeStyle = '#aab3ba';
    x.lineWidth = 5;
    for (let i = -q; i < q * 2; i += 32) for (const [a, b] of [[0, q], [q, 0]]) {
      x.beginPath();
      x.moveTo(i, a);
      x.lineTo(i + q, b);
      x.stroke();
    }
  }, 256, [40, 2]);
  const fence = mesh(new T.PlaneGeometry(62, 2.6), new T.MeshStandardMaterial({map: net, transparent: true, side: T.DoubleSide, alphaTest: 0.3}), 2.6, 1.3, -19);
  fence.rotation.y = Math.PI / 2;
  fence.castShadow = false;
  s.add(fence);
  for (const z of [2, -14, -30]) {
    const l = new T.SpotLight(0xe8f0ff, 90, 26, 0.75, 0.6, 1.6);
    l.position.set(-6, 6.5, z);
    l.target.position.set(1, 0, z - 3);
    s.add(l, l.target, box(0.14, 6.5, 0.14, paint(0x3a3f44), -6, 3.2, z));
  }
  const search = new T.SpotLight(0xffffff, 300, 60, 0.2, 0.5, 1.2);
  search.position.set(-9, 9, 6);
  s.add(search, search.target);
  const sway = trees(s, 20, 0x3a5240, (i) => [9 + rnd() * 14, -i * 2.6 + 4]);
  const p = person(0x6a707c, 0x3a3d44), lag = new T.Object3D();
  s.add(p);
  const prowl = path([[8, 7], [5.6, 1.5], [4, -3], [3.8, -8], [5, -9], [6.4, -4], [10, 7]]);
  return {scene: s, camera, move(t) {
    sway(t);
    prowl(p, turn(t));
    p.walk(t, 15);
    // The searchlight follows, late and unsteady.
    prowl(lag, turn(t, -0.04));
    search.target.position.set(lag.position.x + 0.8 * wave(t, 3), 0, lag.position.z + 1.2 * wave(t, 2));
  }};
}

function server() {
  const {scene: s, camera} = stage({sky: 0x0b0f13, from: [-1.1, 3.05, 5.6], at: [0.45, 1.05, -4], fov: 60, ambient: 1.5, sun: 0.9, sunAt: [1, 10, 3], above: 0xcfe3ff,
    below: 0x2a2f35});
  const tiles = texture((x, q) => {
    x.fillStyle = '#9aa2aa';
    x.fillRect(0, 0, q, q);
    x.strokeStyle = '#6c747b';
    x.lineWidth = 4;
    x.strokeRect(0, 0, q, q);
  }, 128, [16, 30]);
  s.add(floor(20, 40, matte({map: tiles, roughness: 0.35})), box(14, 5, 0.2, paint(0x3a434c), 0, 2.5, -10.2));
  const leds = [], bars = [];
  for (const sx of [-2.2, 2.6]) for (let i = 0; i < 9; i++) {
    const z = 2 - i * 1.1, front = sx + (sx < 0 ? 0.61 : -0.61);
    s.add(box(1.2, 2.6, 1.02, matte({color: 0x1b2026, roughness: 0.5, metalness: 0.4}), sx, 1.3, z));
    for (let u = 0; u < 9; u++) {
      const y = 0.3 + u * 0.26;
      s.add(box(0.02, 0.19, 0.86, matte({color: pick([0x262d35, 0x2f3841, 0x20262c]), roughness: 0.4, metalness: 0.5}), front, y, z));
      for (let k = 0; k < 5; k++) {
        const l = box(0.03, 0.05, 0.07, lamp(pick([0x2ee08a, 0x2ee08a, 0x39a7ff, 0xffb020])), front + (sx < 0 ? 0.02 : -0.02), y, z - 0.36 + k * 0.1);
        l.k = 3 + Math.floor(rnd() * 30);
        l.phase = rnd() * 6.28;
        leds.push(l);
        s.add(l);
      }
      if (rnd() > 0.45) {
        const b = box(0.03, 0.06, 0.34, lamp(pick([0x39a7ff, 0x2ee08a])), front + (sx < 0 ? 0.02 : -0.02), y, z + 0.24);
        b.k = 2 + Math.floor(rnd() * 6);
        b.phase = rnd() * 6.28;
        bars.push(b);
        s.add(b);
      }
    }
  }
  for (let z = 2; z > -9; z -= 3) s.add(box(0.5, 0.04, 1.6, lamp(0xe9f4ff), 0.2, 3.6, z));
  for (const x of [-1.5, 1.9]) s.add(box(0.3, 0.12, 20, paint(0xb8860b), x, 3.2, -4)); // cable trays
  const glow = new T.PointLight(0xff7a1f, 14, 14, 1.6), lens = box(0.3, 0.3, 0.2, lamp(0xff8a2a), 0.2, 3.1, -10);
  glow.position.set(0.2, 2.9, -9);
  s.add(glow, lens);
  const p = person(0x4a78b0, 0x2c3340), q = person(0x8a8f3c, 0x22252b), board = box(0.42, 0.03, 0.3, lamp(0x9fd8ff), 0, 1.15, 0.42);
  p.add(board);
  s.add(p, q);
  const keys = [[0, 1.35, -1.4, 1.4], [2.4, 1.35, -1.4, 1.4], [3.1, 0.9, -2.2, Math.PI], [5, -0.8, -5.6, Math.PI * 1.1], [5.4, -1.1, -5.8, Math.PI * 1.5], [7, -1.1, -5.8, Math.PI * 1.5],
    [7.4, -0.7, -5.4, Math.PI * 2.1], [9.5, 1.2, -1.8, Math.PI * 2.1], [10, 1.35, -1.4, Math.PI * 2 + 1.4]];
  const visit = path([[0.4, -13], [0.4, -8.6], [-0.4, 0], [-1.6, 5.5]]);
  return {scene: s, camera, move(t) {
    for (const l of leds) l.visible = wave(t, l.k, l.phase) > -0.4;
    for (const b of bars) b.scale.z = 0.55 + 0.45 * wave(t, b.k, b.phase);
    const beat = 0.5 + 0.5 * wave(t, 10);
    glow.intensity = 2 + 16 * beat;
    lens.material.color.setRGB(0.35 + 0.65 * beat, 0.15 + 0.35 * beat, 0.05);
    if (keyed(p, t, keys)) p.walk(t, 11);
    else p.legs.forEach((l) => { l.rotation.x = 0; });
    p.arms.forEach((a, i) => { a.rotation.x = -1.1 + 0.15 * wave(t, 9, i * 2); });
    visit(q, turn(t, 0.3));
    q.walk(t, 13, 1);
  }};
}

function street() {
  const {scene: s, camera} = stage({sky: 0x27303b, fog: [30, 90], from: [7, 6.4, 12], at: [-2, 0.6, -6], fov: 55, ambient: 0.85, sun: 0.9, sunColor: 0xffc79a, sunAt: [14, 8, 10],
    above: 0x7f93b5, below: 0x3a332c, shadow: 28});
  s.add(floor(200, 200, matte({map: asphalt(), roughness: 0.5})));
  s.add(box(5, 0.16, 140, matte({map: concrete()}), -9, 0.08, -40), box(3, 0.16, 140, matte({map: concrete()}), 8, 0.08, -40));
  for (let i = 0; i < 22; i++) s.add(box(0.16, 0.02, 2, paint(0xe8e4d8), -0.8, 0.02, 10 - i * 5));
  for (let i = 0; i < 9; i++) s.add(box(0.6, 0.02, 2.6, paint(0xeae6dc), -6 + i * 1.4, 0.025, 2));
  for (let b = 0; b < 8; b++) {
    const h = 6 + rnd() * 6;
    s.add(box(6, h, 8, matte({map: brick([3, h / 2])}), -14.6, h / 2, 4 - b * 9));
    for (let y = 1; y < h - 1; y += 2.2) for (let k = 0; k < 3; k++) {
      const w = matte({color: 0x1a2430, emissive: rnd() > 0.5 ? 0xffcf87 : 0, emissiveIntensity: 0.7});
      s.add(box(0.06, 1.2, 1.2, w, -11.55, y + 0.7, 1.5 - b * 9 + k * 2.3));
    }
  }
  for (const z of [4, -8, -20]) {
    const l = new T.PointLight(0xffc98a, 40, 16, 1.6);
    l.position.set(-6, 5.9, z);
    s.add(l, box(0.14, 6, 0.14, paint(0x33373b), -6.9, 3, z), box(0.9, 0.1, 0.3, lamp(0xffdca8), -6.4, 6, z));
  }
  const sign = box(0.1, 1, 2.6, lamp(0xff4f7a), -11.4, 3.6, -5);
  s.add(sign);
  const towards = car(0xb33a2f), away = car(0x35506b), taxi = car(0xd8b021);
  const near = path([[1.6, -88], [1.6, 20]]), far = path([[-3.4, 20], [-3.4, -90]]);
  const crossing = [0, 1].map(() => person(0x6b7f9a, 0x262a33)), walker = person(0x6f8a3a, 0x2a2e34);
  s.add(towards, away, taxi, walker, ...crossing);
  const over = path([[11, 4.6], [7.5, 2], [-7.5, 2], [-8.8, -0.5], [-16, -0.5]]), along = path([[-8.6, 10], [-8.5, -7], [-9.5, -9.4], [-16, -9.5]]);
  return {scene: s, camera, move(t) {
    near(towards, turn(t, 0.65));
    far(away, turn(t, -0.39));
    far(taxi, turn(t, -0.26));
    along(walker, turn(t, 0.2));
    walker.walk(t, 13);
    crossing.forEach((p, i) => {
      over(p, Math.min(0.9999, (turn(t) + i) / 2));
      p.walk(t, 11);
    });
    sign.material.color.set(wave(t, 5) > -0.3 ? 0xff4f7a : 0x5a1c2c);
  }};
}

export const scenes = {gate, lobby, parking, dock, aisle, perimeter, server, street};
