// Words and small rules of finding and adding cameras.

import type { Enrolled, Found, Step, StepName } from '../api/device';

export const STEPS: StepName[] = ['reach', 'identify', 'password', 'time', 'streams', 'transport', 'test', 'record'];
const doing: Record<StepName, string> = {
  reach: 'Reaching it and logging in',
  identify: 'Asking who it is and what it can do',
  password: 'Giving it a password of its own',
  time: 'Setting its clock',
  streams: 'Making streams that browsers can play',
  transport: 'Setting up encrypted transport',
  test: 'Waiting for a picture',
  record: 'Starting to record',
};
const names: Record<StepName, string> = { reach: 'Log-in', identify: 'Who it is', password: 'Password', time: 'Clock', streams: 'Streams', transport: 'Transport', test: 'Test', record: 'Recording' };

export const stepName = (s: string): string => names[s as StepName] ?? s;
export const outcomeWords = (o: Step['outcome']): string => ({ ok: 'fine', changed: 'changed', skipped: 'left as it is', failed: 'failed' })[o] ?? o;

/** nowWords says what happens to a device at this moment. */
export function nowWords(d: Enrolled): string {
  if (d.state === 'waiting') return 'Waiting for its turn';
  if (d.state === 'done') return d.unsafe.length ? 'Added, with a warning' : 'Added and being recorded';
  if (d.state === 'failed') return 'Not added';
  return (d.step && doing[d.step]) || 'Working';
}

/** reached is how many of the eight steps are behind it. */
export const reached = (d: Enrolled): number => (d.state === 'done' ? STEPS.length : new Set(d.steps.filter((s) => s.outcome !== 'failed').map((s) => s.step)).size);

/** networksOf reads what a person typed: networks and addresses with commas or blanks between. What is none is told. */
export function networksOf(s: string): { networks: string[]; wrong: string } {
  const networks: string[] = [];
  for (const w of s.split(/[\s,;]+/).filter(Boolean)) {
    const m = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:\/(\d{1,2}))?$/.exec(w);
    const v6 = /^[0-9a-f:]*:[0-9a-f:.]*(?:\/(\d{1,3}))?$/i.exec(w);
    if (m && m.slice(1, 5).every((x) => Number(x) < 256) && Number(m[5] ?? 32) <= 32) networks.push(m[5] === undefined ? w + '/32' : w);
    else if (v6 && Number(v6[1] ?? 128) <= 128) networks.push(v6[1] === undefined ? w + '/128' : w);
    else return { networks: [], wrong: w };
  }
  return { networks, wrong: '' };
}

/** titleOf names a found device as a person would. */
export const titleOf = (f: Found): string => [f.maker, f.model].filter(Boolean).join(' ') || f.name || f.hardware || f.address;

/** nameFor is what it will be called unless the person says otherwise; never twice the same. */
export function nameFor(f: Found, taken: Set<string>): string {
  const base = (f.name && !/^(onvif|ipc|camera|ip ?camera)$/i.test(f.name) ? f.name : [titleOf(f), f.location].filter(Boolean).join(', ')).slice(0, 70);
  let n = base;
  for (let i = 2; taken.has(n); i++) n = `${base} ${i}`;
  taken.add(n);
  return n;
}

/** addressOf is what enrolment is asked with. */
export const addressOf = (f: Found): string => f.xaddr || f.address;

/** byAddress sorts as numbers do: .9 before .10. */
export const byAddress = (a: Found, b: Found): number => a.address.localeCompare(b.address, 'en', { numeric: true });

const profiles: Record<string, string> = { S: 'streams', T: 'streams and events', G: 'recording on its card', M: 'analytics', C: 'doors', A: 'doors', D: 'doors' };
/** profileWords says what an ONVIF profile promises. */
export const profileWords = (p: string): string => profiles[p.toUpperCase()] ?? '';

/** chunks splits a list for requests that take at most n. */
export function chunks<T>(l: T[], n: number): T[][] {
  const r: T[][] = [];
  for (let i = 0; i < l.length; i += n) r.push(l.slice(i, i + n));
  return r;
}
