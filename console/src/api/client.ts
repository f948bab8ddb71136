// One door to the server: every answer that is not a success becomes a
// Problem that a person can read (RFC 9457).

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly kind: string,
    title: string,
    readonly detail = '',
    readonly requestId = '',
    readonly retryAfter = 0,
    readonly errors: { location?: string; message?: string }[] = [],
  ) {
    super(title);
    this.name = 'Problem';
  }
}

const base = '/api/v1';
let onUnauthenticated: () => unknown = () => {};
let onFactor: () => Promise<boolean> = async () => false;

/** whenUnauthenticated is told of every 401 that is not an answer to a log-in. */
export function whenUnauthenticated(f: () => unknown): void {
  onUnauthenticated = f;
}

/** whenFactorAsked is asked to let the person show a second factor again; it tells whether that was done. */
export function whenFactorAsked(f: () => Promise<boolean>): void {
  onFactor = f;
}

/** factorAsked reports whether a refusal goes away once the second factor is shown again. */
export const factorAsked = (p: Problem): boolean => p.status === 403 && (p.kind === 'step-up' || /second factor again/i.test(p.message));

export const url = (path: string, query?: Record<string, string | number | undefined>): string => {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(query ?? {})) if (v !== undefined && v !== '') q.set(k, String(v));
  const s = q.toString();
  return base + path + (s ? '?' + s : '');
};

/** problemOf reads an error answer, whatever its body is. */
export async function problemOf(r: Response): Promise<Problem> {
  const retry = Number(r.headers.get('Retry-After') ?? 0) || 0;
  try {
    const p = (await r.json()) as { title?: string; detail?: string; kind?: string; request_id?: string; errors?: { location?: string; message?: string }[] };
    return new Problem(r.status, p.kind ?? '', p.title || said(r.status), p.detail ?? '', p.request_id ?? '', retry, p.errors ?? []);
  } catch {
    return new Problem(r.status, '', said(r.status), '', '', retry);
  }
}

function said(status: number): string {
  if (status === 401) return 'You are not logged in.';
  if (status === 403) return 'You may not do this.';
  if (status === 404) return 'There is no such thing here.';
  if (status === 429) return 'Too many tries.';
  if (status >= 500) return 'The server could not do this.';
  return `The server answered ${status}.`;
}

/** media fetches bytes; an answer that is not 2xx is thrown as a Problem. */
export async function media(u: string, init: RequestInit = {}): Promise<Response> {
  let r: Response;
  try {
    r = await fetch(u, { credentials: 'same-origin', ...init });
  } catch (e) {
    if ((e as Error).name === 'AbortError') throw e;
    throw new Problem(0, 'unavailable', 'The server cannot be reached.', 'Check the network and that Bartizan is running. The console tries again by itself.');
  }
  if (!r.ok) {
    const p = await problemOf(r);
    if (r.status === 401) onUnauthenticated();
    throw p;
  }
  return r;
}

async function call<T>(method: string, path: string, body?: unknown, query?: Record<string, string | number | undefined>, signal?: AbortSignal, again = false): Promise<T> {
  let r: Response;
  try {
    r = await fetch(url(path, query), {
      method,
      credentials: 'same-origin',
      headers: body === undefined ? { Accept: 'application/json' } : { Accept: 'application/json', 'Content-Type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (e) {
    if ((e as Error).name === 'AbortError') throw e;
    throw new Problem(0, 'unavailable', 'The server cannot be reached.', 'Check the network and that Bartizan is running, then try again.');
  }
  if (!r.ok) {
    const p = await problemOf(r);
    if (r.status === 401 && !(method === 'POST' && path === '/session') && path !== '/setup') onUnauthenticated();
    if (!again && factorAsked(p) && (await onFactor())) return call(method, path, body, query, signal, true);
    throw p;
  }
  if (r.status === 204) return undefined as T;
  return (await r.json()) as T;
}

export const api = {
  get: <T>(path: string, query?: Record<string, string | number | undefined>, signal?: AbortSignal) => call<T>('GET', path, undefined, query, signal),
  post: <T>(path: string, body: unknown = {}, signal?: AbortSignal) => call<T>('POST', path, body, undefined, signal),
  put: <T>(path: string, body: unknown) => call<T>('PUT', path, body),
  patch: <T>(path: string, body: unknown) => call<T>('PATCH', path, body),
  del: (path: string) => call<void>('DELETE', path),
};

/** told gives any thrown thing as a Problem. */
export function told(e: unknown): Problem {
  if (e instanceof Problem) return e;
  return new Problem(0, 'internal', e instanceof Error && e.message ? e.message : 'Something went wrong.', 'Reload the page. If it happens again, look at System, recent errors.');
}
