// Runs in the browser: draws one picture of one scene at a time.
import * as T from 'three';
import {LOOP, reseed} from './kit.mjs';
import {scenes} from './scenes.mjs';

const canvas = document.querySelector('canvas');
const renderer = new T.WebGLRenderer({canvas, antialias: true, preserveDrawingBuffer: true});
renderer.shadowMap.enabled = true;
renderer.shadowMap.type = T.PCFShadowMap;
renderer.toneMapping = T.ACESFilmicToneMapping;
renderer.toneMappingExposure = 1.05;

// render posts `count` pictures, evenly spread over the loop, to /frames/NAME.
window.render = async (name, count) => {
  reseed();
  const {scene, camera, move} = scenes[name]();
  for (let i = 0; i < count; i++) {
    move((i * LOOP) / count);
    renderer.render(scene, camera);
    const body = await new Promise((done) => canvas.toBlob(done, 'image/jpeg', 0.95));
    await fetch('/frames/' + name, {method: 'POST', body});
  }
};
window.names = Object.keys(scenes);
