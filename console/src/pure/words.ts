// Numbers and times in words a person reads.

export function bytes(n: number): string {
  if (!Number.isFinite(n)) return '';
  const u = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let i = 0;
  while (n >= 1000 && i < u.length - 1) {
    n /= 1000;
    i++;
  }
  return `${i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${u[i]}`;
}

export function bits(n: number | undefined): string {
  if (!n) return '';
  return n >= 950_000 ? `${(n / 1e6).toFixed(1)} Mbit/s` : `${Math.round(n / 1000)} kbit/s`;
}

export function fps(n: number | undefined): string {
  if (!n) return '';
  // The rate is measured; a tenth of a frame more or less says nothing.
  const r = Math.round(n);
  return `${n >= 10 && Math.abs(n - 12.5) > 0.3 ? r : Math.abs(n - r) < 0.05 ? r : n.toFixed(1)} fps`;
}

export const size = (w?: number, h?: number): string => (w && h ? `${w}×${h}` : '');

export function days(n: number): string {
  if (!Number.isFinite(n)) return '';
  if (n < 1) return `${Math.max(1, Math.round(n * 24))} h`;
  return n < 10 ? `${n.toFixed(1)} d` : `${Math.round(n)} d`;
}

export function age(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 172_800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} days`;
}

const two = (n: number): string => String(n).padStart(2, '0');

/** hms of the local day, with tenths on wish. */
export function hms(t: number, tenths = false): string {
  const d = new Date(t);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}` + (tenths ? `.${Math.floor(d.getMilliseconds() / 100)}` : '');
}

export const hm = (t: number): string => hms(t).slice(0, 5);

export function day(t: number): string {
  return new Date(t).toLocaleDateString('en-GB', { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' });
}

export function when(s: string | null | undefined, now = Date.now()): string {
  const t = Date.parse(s ?? '');
  if (!Number.isFinite(t) || t <= 0) return '';
  const same = new Date(t).toDateString() === new Date(now).toDateString();
  return same ? hms(t) : `${new Date(t).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: 'numeric' })} ${hm(t)}`;
}

/** clockWords says how far a camera's clock is off. */
export function clockWords(ms: number | undefined): string {
  if (ms === undefined || ms === null) return 'not told by the camera';
  const a = Math.abs(ms);
  if (a < 250) return 'exact';
  const s = a < 10_000 ? `${(a / 1000).toFixed(1)} s` : a < 600_000 ? `${Math.round(a / 1000)} s` : age(a);
  return `${s} ${ms > 0 ? 'ahead' : 'behind'}`;
}

/** deviceWords makes a browser's long name short: "Chromium 156 on Linux". */
export function deviceWords(ua: string | undefined): string {
  if (!ua) return 'Unknown device';
  const b = /(Edg|OPR|Firefox|HeadlessChrome|Chrome|Version)\/(\d+)/.exec(ua);
  if (!b) return ua;
  const name = { Edg: 'Edge', OPR: 'Opera', Firefox: 'Firefox', HeadlessChrome: 'Chromium', Chrome: 'Chromium', Version: 'Safari' }[b[1]!];
  const os = /Android/.test(ua) ? 'Android' : /iPhone|iPad/.test(ua) ? 'iOS' : /Windows/.test(ua) ? 'Windows' : /Mac OS X/.test(ua) ? 'macOS' : /Linux/.test(ua) ? 'Linux' : '';
  const edge = /Edg\/(\d+)/.exec(ua);
  return `${edge ? 'Edge' : name} ${edge ? edge[1] : b[2]}${os ? ' on ' + os : ''}`;
}

/** sentence begins with a capital and ends with a full stop. */
export function sentence(s: string | undefined): string {
  const t = (s ?? '').trim();
  if (!t) return '';
  return t[0]!.toUpperCase() + t.slice(1) + (/[.!?…]$/.test(t) ? '' : '.');
}
