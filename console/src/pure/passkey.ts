// A passkey's ceremony: the server's question in, the browser's answer out
// (WebAuthn Level 3 §5.1, in JSON, so that no byte is handled here).

import { Problem } from '../api/client';

interface Ask {
  publicKey?: unknown;
}
const inner = (o: unknown): never => ((o as Ask).publicKey ?? o) as never;

/** named reports whether the page has a name: a passkey belongs to one, and numbers are none. */
export const named = (): boolean => !/^[\d.]+$|:/.test(location.hostname);

/** here reports whether this browser can use passkeys on this page at all. */
export const here = (): boolean => named() && typeof PublicKeyCredential === 'function' && 'parseRequestOptionsFromJSON' in PublicKeyCredential;

/** offers reports whether the browser can offer passkeys in the name's field. */
export async function offers(): Promise<boolean> {
  return here() && !!(await PublicKeyCredential.isConditionalMediationAvailable?.().catch(() => false));
}

export async function make(options: unknown): Promise<unknown> {
  const c = await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(inner(options)) });
  return (c as PublicKeyCredential).toJSON();
}

export async function show(options: unknown, signal?: AbortSignal, quiet = false): Promise<unknown> {
  const c = await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(inner(options)), signal, mediation: quiet ? 'conditional' : undefined });
  return (c as PublicKeyCredential).toJSON();
}

/** refusal says in words why the browser did not do it; undefined when it was only called off. */
export function refusal(e: unknown): Problem | undefined {
  const n = (e as Error).name;
  if (e instanceof Problem) return e;
  if (n === 'AbortError') return undefined;
  if (n === 'NotAllowedError') return new Problem(0, 'passkey', 'No passkey was used.', 'The question was closed, took too long, or this device could not tell that it is you. Try again, or use password and code.');
  if (n === 'InvalidStateError') return new Problem(0, 'passkey', 'This device has a passkey of yours already.', 'Use it, or add one on another device.');
  if (n === 'SecurityError') return new Problem(0, 'passkey', 'The browser does not allow passkeys at this address.', 'Open the console by its name, not by a number, and with a certificate that the browser trusts.');
  return new Problem(0, 'passkey', 'The passkey could not be used.', (e as Error).message);
}
