// Turns a drawn scene into the committed clips. Run alone (node encode.mjs
// gate) it encodes again from out/gate.mkv without drawing.
import path from 'node:path';
import {spawnSync} from 'node:child_process';

const here = import.meta.dirname, clips = path.join(here, '../clips');

// What each scene sounds like: quiet, different, and free of anybody's rights.
// Every wave has a whole number of periods in 10 s where it is tonal.
const sound = {
  gate: 'anoisesrc=color=brown:amplitude=0.20:seed=1:r=48000,lowpass=f=900',
  lobby: "aevalsrc='0.02*sin(2*PI*220*t)*(0.6+0.4*sin(2*PI*0.2*t))+0.015*sin(2*PI*330*t)+0.01*sin(2*PI*440*t)*(0.5+0.5*sin(2*PI*0.3*t))':s=48000",
  parking: 'anoisesrc=color=pink:amplitude=0.05:seed=2:r=48000,lowpass=f=1500',
  dock: "aevalsrc='0.03*sin(2*PI*90*t)+0.04*sin(2*PI*1250*t)*lt(mod(t\\,1)\\,0.25)':s=48000",
  aisle: "aevalsrc='0.03*sin(2*PI*100*t)+0.01*sin(2*PI*200*t)+0.005*sin(2*PI*300*t)':s=48000",
  perimeter: "aevalsrc='0.02*sin(2*PI*4200*t)*gt(sin(2*PI*3*t)\\,0.2)*gt(sin(2*PI*30*t)\\,0)':s=48000",
  server: 'anoisesrc=color=white:amplitude=0.05:seed=3:r=48000,bandpass=f=600:w=900',
  street: 'anoisesrc=color=brown:amplitude=0.25:seed=4:r=48000,tremolo=f=0.2:d=0.5',
};
// Kilobit a second of the main and the sub picture.
const rate = {main: 400, sub: 76};

function ffmpeg(...a) {
  const r = spawnSync('ffmpeg', ['-y', '-v', 'error', ...a], {stdio: 'inherit'});
  if (r.status !== 0) throw new Error('ffmpeg failed');
}

const tidy = ['-map_metadata', '-1', '-fflags', '+bitexact', '-flags:v', '+bitexact', '-flags:a', '+bitexact', '-movflags', '+faststart', '-video_track_timescale', '90000',
  '-pix_fmt', 'yuv420p'];
const avc = (preset, profile, gop, kbit) => ['-c:v', 'libx264', '-preset', preset, '-profile:v', profile, '-bf', '0', '-g', `${gop}`, '-keyint_min', `${gop}`,
  '-sc_threshold', '0', '-b:v', `${kbit}k`, '-maxrate', `${kbit * 2}k`, '-bufsize', `${kbit * 2}k`, '-x264-params', 'stitchable=1:threads=1'];
const inputs = (name, raw) => ['-i', raw, '-f', 'lavfi', '-t', '10', '-i', sound[name], '-map', '0:v', '-map', '1:a', '-t', '10'];
const aac = ['-c:a', 'aac', '-b:a', '32k', '-ac', '1', '-ar', '16000'];

export function encode(name, raw) {
  const look = (name === 'perimeter' ? 'hue=s=0,' : '') + 'vignette=PI/6';
  const into = (q) => path.join(clips, `${name}_${q}.mp4`);
  ffmpeg(...inputs(name, raw), '-vf', look, ...avc('slow', 'high', 50, rate.main), ...aac, ...tidy, into('main'));
  ffmpeg(...inputs(name, raw), '-vf', look + ',scale=480:270,fps=12.5', ...avc('slow', 'main', 13, rate.sub), ...aac, ...tidy, into('sub'));
  if (name === 'gate') {
    ffmpeg(...inputs(name, raw), '-vf', look, '-c:v', 'libx265', '-preset', 'medium', '-tag:v', 'hvc1', '-b:v', '280k',
      '-x265-params', 'log-level=error:bframes=0:keyint=50:min-keyint=50:scenecut=0:open-gop=0:info=0:pools=2', ...aac, ...tidy, into('h265'));
    // Two seconds with B-frames: what browsers cannot play over WebRTC.
    ffmpeg('-t', '2', '-i', raw, '-an', '-vf', look + ',scale=320:180', '-c:v', 'libx264', '-preset', 'slow', '-profile:v', 'high', '-bf', '2', '-b_strategy', '0', '-g', '25',
      '-keyint_min', '25', '-sc_threshold', '0', '-crf', '30', '-x264-params', 'threads=1', ...tidy, into('bframes'));
    // One group of real 1080p pictures, small: the load camera pads it.
    ffmpeg('-t', '2', '-i', raw, '-an', '-vf', look + ',scale=1920:1080', '-c:v', 'libx264', '-preset', 'slow', '-profile:v', 'high', '-bf', '0', '-g', '50', '-keyint_min', '50',
      '-sc_threshold', '0', '-crf', '36', '-x264-params', 'threads=1', ...tidy, into('1080p'));
    // A sound alone, in Opus: a fifth a second, up and down.
    ffmpeg('-f', 'lavfi', '-t', '4', '-i', "aevalsrc='0.1*sin(2*PI*(330+165*lt(mod(t\\,2)\\,1))*t)':s=48000", '-c:a', 'libopus', '-b:a', '16k', '-ac', '1', ...tidy,
      path.join(clips, 'tone_opus.mp4'));
  }
}

if (import.meta.filename === process.argv[1]) for (const name of process.argv.slice(2)) encode(name, path.join(here, 'out', name + '.mkv'));
