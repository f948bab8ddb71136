// Which way a live picture comes: WebRTC, then fMP4 over the WebSocket into
// Media Source, then one key picture a second. Pure decisions only.

export type Rung = 'webrtc' | 'mse' | 'stills';

export interface Can {
  webrtc: boolean;
  /** whether Media Source takes these codecs */
  mse: (codecs: string) => boolean;
}

export interface StreamFacts {
  webrtc?: boolean;
  mse?: boolean;
  codecs?: string;
}

export interface Memory {
  rung: Rung;
  at: number;
}

/** How long a choice is remembered before the better rung is tried again. */
export const MEMORY_MS = 30 * 60_000;
/** After this long without a picture the next rung joins the race. */
export const RACE_MS = 1500;

/**
 * rungs orders the ways to try. sound names the audio codec that is wanted:
 * WebRTC carries only what needs no new coding, so AAC comes by MSE.
 */
export function rungs(s: StreamFacts | undefined, can: Can, mem: Memory | undefined, now: number, sound = ''): Rung[] {
  const out: Rung[] = [];
  if (can.webrtc && (s?.webrtc ?? true)) out.push('webrtc');
  if ((s?.mse ?? true) && (!s?.codecs || can.mse(videoOnly(s.codecs)))) out.push('mse');
  out.push('stills');
  if (sound && !/opus|g\.?711|pcm[ua]|g\.?722/i.test(sound) && out[0] === 'webrtc' && out[1] === 'mse') out.splice(0, 2, 'mse', 'webrtc');
  else if (mem && now - mem.at < MEMORY_MS && mem.rung !== 'stills') {
    const i = out.indexOf(mem.rung);
    if (i > 0) out.unshift(...out.splice(i, 1));
  }
  return out;
}

/** videoOnly leaves the video codec of "avc1.64001f,mp4a.40.2". */
export const videoOnly = (codecs: string): string => codecs.split(',')[0]!.trim();

/** backoff is the pause before try n (0, 1, ...), with jitter in [0, 1). */
export function backoff(n: number, jitter: number): number {
  return Math.round(Math.min(15_000, 400 * 2 ** Math.min(n, 6)) * (0.75 + jitter / 2));
}
