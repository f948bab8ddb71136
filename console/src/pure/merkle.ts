// What this browser can check of the trail by itself: that an entry's proof
// leads to the root of the signed tree (RFC 6962 §2.1.1), and what a
// checkpoint says (c2sp.org/tlog-checkpoint).

export interface Checkpoint {
  origin: string;
  size: number;
  root: string;
  /** names of those who signed */
  signers: string[];
}

export function readCheckpoint(text: string): Checkpoint | undefined {
  const [body, sigs] = text.split('\n\n');
  const [origin, size, root] = (body ?? '').split('\n');
  const n = Number(size);
  if (!origin || !root || !/^\d+$/.test(size ?? '') || !Number.isSafeInteger(n)) return undefined;
  return { origin, size: n, root, signers: (sigs ?? '').split('\n').flatMap((l) => (l.startsWith('— ') ? [l.split(' ')[1] ?? ''] : [])) };
}

const bytes = (b64: string): Uint8Array<ArrayBuffer> => Uint8Array.from(atob(b64), (c) => c.charCodeAt(0));
const sha = async (...parts: Uint8Array[]): Promise<Uint8Array<ArrayBuffer>> => {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return new Uint8Array(await crypto.subtle.digest('SHA-256', all));
};
const same = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((x, i) => x === b[i]);

/** leads reports whether path leads from the leaf at index to root in a tree
 * of size leaves (RFC 9162 §2.1.3.2), and the entry, where given, is the leaf. */
export async function leads(p: { index: number; leaf: string; path: string[]; entry?: string }, size: number, root: string): Promise<boolean> {
  if (p.index < 0 || p.index >= size) return false;
  let r = bytes(p.leaf);
  if (p.entry !== undefined && p.entry !== '' && !same(r, await sha(Uint8Array.of(0), new TextEncoder().encode(p.entry)))) return false;
  let fn = BigInt(p.index);
  let sn = BigInt(size - 1);
  for (const h of p.path) {
    if (sn === 0n) return false;
    const x = bytes(h);
    if (fn & 1n || fn === sn) {
      r = await sha(Uint8Array.of(1), x, r);
      if (!(fn & 1n)) while (fn !== 0n && !(fn & 1n)) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else r = await sha(Uint8Array.of(1), r, x);
    fn >>= 1n;
    sn >>= 1n;
  }
  return sn === 0n && same(r, bytes(root));
}
