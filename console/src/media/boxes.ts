// Reading of MP4 boxes (ISO/IEC 14496-12): enough to cut a stream into
// fragments, to know their times, and to take one key picture out of a file.
// Every length is checked against what is there; nothing is trusted to fit.

export interface Box {
  type: string;
  /** first byte of the content */
  at: number;
  /** first byte after the box */
  end: number;
  start: number;
}

const MAX_BOX = 64 << 20;

const typeAt = (b: Uint8Array, i: number): string => String.fromCharCode(b[i]!, b[i + 1]!, b[i + 2]!, b[i + 3]!);
const view = (b: Uint8Array): DataView => new DataView(b.buffer, b.byteOffset, b.byteLength);

/** head reads a box header at i; undefined where more bytes are needed. */
export function head(b: Uint8Array, i: number): { type: string; head: number; size: number } | undefined {
  if (i + 8 > b.length) return undefined;
  const v = view(b);
  let size = v.getUint32(i);
  let h = 8;
  if (size === 1) {
    if (i + 16 > b.length) return undefined;
    size = v.getUint32(i + 8) * 2 ** 32 + v.getUint32(i + 12);
    h = 16;
  }
  if (size < h) throw new Error('The stream is not MP4: a box is smaller than its head.');
  if (size > MAX_BOX) throw new Error('The stream is not MP4: a box is larger than 64 MiB.');
  return { type: typeAt(b, i + 4), head: h, size };
}

/** boxes lists the boxes between i and end; a cut one at the end is left out. */
export function boxes(b: Uint8Array, i = 0, end = b.length): Box[] {
  const out: Box[] = [];
  while (i + 8 <= end) {
    const h = head(b, i);
    if (!h || i + h.size > end) break;
    out.push({ type: h.type, start: i, at: i + h.head, end: i + h.size });
    i += h.size;
  }
  return out;
}

const child = (b: Uint8Array, p: Box | undefined, type: string, skip = 0): Box | undefined => (p ? boxes(b, p.at + skip, p.end).find((x) => x.type === type) : undefined);

function path(b: Uint8Array, p: Box | undefined, ...types: string[]): Box | undefined {
  for (const t of types) p = child(b, p, t);
  return p;
}

export interface Track {
  id: number;
  kind: 'video' | 'audio' | 'other';
  timescale: number;
  codec: string;
  description?: Uint8Array;
  width: number;
  height: number;
}

const hex = (n: number): string => n.toString(16).padStart(2, '0');

/** hevcCodec writes the codecs string of an hvcC record (ISO/IEC 14496-15 E.3). */
function hevcCodec(entry: string, c: Uint8Array): string {
  if (c.length < 13) return entry;
  const space = ['', 'A', 'B', 'C'][c[1]! >> 6]!;
  const tier = c[1]! & 0x20 ? 'H' : 'L';
  let compat = view(c).getUint32(2);
  let rev = 0;
  for (let i = 0; i < 32; i++) {
    rev = (rev << 1) | (compat & 1);
    compat >>>= 1;
  }
  let s = `${entry}.${space}${c[1]! & 0x1f}.${(rev >>> 0).toString(16)}.${tier}${c[12]}`;
  let last = 11;
  while (last > 6 && c[last] === 0) last--;
  for (let i = 6; i <= last; i++) s += '.' + c[i]!.toString(16);
  return s;
}

/** tracks reads the moov of an init segment or file. */
export function tracks(b: Uint8Array): Track[] {
  const moov = boxes(b).find((x) => x.type === 'moov');
  if (!moov) throw new Error('The stream has no moov box.');
  const out: Track[] = [];
  for (const trak of boxes(b, moov.at, moov.end).filter((x) => x.type === 'trak')) {
    const tkhd = child(b, trak, 'tkhd');
    const mdia = child(b, trak, 'mdia');
    const mdhd = child(b, mdia, 'mdhd');
    const hdlr = child(b, mdia, 'hdlr');
    const stsd = path(b, mdia, 'minf', 'stbl', 'stsd');
    if (!tkhd || !mdhd || !hdlr || !stsd || hdlr.end - hdlr.at < 12) continue;
    const v = view(b);
    const k1 = b[tkhd.at] === 1;
    const m1 = b[mdhd.at] === 1;
    if (tkhd.end - tkhd.at < (k1 ? 24 : 16) || mdhd.end - mdhd.at < (m1 ? 24 : 16)) continue;
    const h = typeAt(b, hdlr.at + 8);
    const t: Track = {
      id: v.getUint32(tkhd.at + (k1 ? 20 : 12)),
      kind: h === 'vide' ? 'video' : h === 'soun' ? 'audio' : 'other',
      timescale: v.getUint32(mdhd.at + (m1 ? 20 : 12)) || 1,
      codec: '',
      width: 0,
      height: 0,
    };
    const entry = boxes(b, stsd.at + 8, stsd.end)[0];
    if (entry) {
      t.codec = entry.type;
      if (t.kind === 'video' && entry.end - entry.at >= 78) {
        t.width = v.getUint16(entry.at + 24);
        t.height = v.getUint16(entry.at + 26);
        const conf = boxes(b, entry.at + 78, entry.end).find((x) => x.type === 'avcC' || x.type === 'hvcC');
        if (conf) {
          t.description = b.slice(conf.at, conf.end);
          const d = t.description;
          if (conf.type === 'avcC' && d.length >= 4) t.codec = `avc1.${hex(d[1]!)}${hex(d[2]!)}${hex(d[3]!)}`;
          if (conf.type === 'hvcC') t.codec = hevcCodec('hvc1', d);
        }
      }
    }
    out.push(t);
  }
  return out;
}

/** decodeTime is the base media decode time of track id in a moof, in ticks. */
export function decodeTime(b: Uint8Array, id: number): number | undefined {
  const moof = boxes(b).find((x) => x.type === 'moof');
  if (!moof) return undefined;
  const v = view(b);
  for (const traf of boxes(b, moof.at, moof.end).filter((x) => x.type === 'traf')) {
    const tfhd = child(b, traf, 'tfhd');
    const tfdt = child(b, traf, 'tfdt');
    if (!tfhd || !tfdt || tfhd.end - tfhd.at < 8 || tfdt.end - tfdt.at < 8) continue;
    if (v.getUint32(tfhd.at + 4) !== id) continue;
    if (b[tfdt.at] === 1 && tfdt.end - tfdt.at >= 12) return v.getUint32(tfdt.at + 4) * 2 ** 32 + v.getUint32(tfdt.at + 8);
    return v.getUint32(tfdt.at + 4);
  }
  return undefined;
}

/** firstPicture takes the first video sample out of a whole small file, with fragments or without. */
export function firstPicture(b: Uint8Array): { track: Track; data: Uint8Array } {
  const track = tracks(b).find((t) => t.kind === 'video');
  if (!track) throw new Error('The picture file has no video track.');
  const all = boxes(b);
  const v = view(b);
  const moof = all.find((x) => x.type === 'moof');
  if (moof) {
    for (const traf of boxes(b, moof.at, moof.end).filter((x) => x.type === 'traf')) {
      const tfhd = child(b, traf, 'tfhd');
      const trun = child(b, traf, 'trun');
      if (!tfhd || !trun || tfhd.end - tfhd.at < 8 || trun.end - trun.at < 8) continue;
      if (v.getUint32(tfhd.at + 4) !== track.id) continue;
      const hf = v.getUint32(tfhd.at) & 0xffffff;
      let i = tfhd.at + 8;
      if (hf & 1) i += 8;
      if (hf & 2) i += 4;
      if (hf & 8) i += 4;
      const defSize = hf & 0x10 && i + 4 <= tfhd.end ? v.getUint32(i) : 0;
      const rf = v.getUint32(trun.at) & 0xffffff;
      let j = trun.at + 8;
      let off = -1;
      if (rf & 1 && j + 4 <= trun.end) {
        off = moof.start + v.getInt32(j);
        j += 4;
      }
      if (rf & 4) j += 4;
      let size = defSize;
      if (rf & 0x100) j += 4;
      if (rf & 0x200 && j + 4 <= trun.end) size = v.getUint32(j);
      const mdat = all.find((x) => x.type === 'mdat' && x.start >= moof.end);
      if (!mdat) break;
      if (off < 0) off = mdat.at;
      if (!size) size = mdat.end - off;
      if (off < 0 || off + size > b.length || size <= 0) throw new Error('The picture file is cut.');
      return { track, data: b.subarray(off, off + size) };
    }
  }
  const moov = all.find((x) => x.type === 'moof' || x.type === 'moov')!;
  for (const trak of boxes(b, moov.at, moov.end).filter((x) => x.type === 'trak')) {
    const tkhd = child(b, trak, 'tkhd');
    if (!tkhd || v.getUint32(tkhd.at + (b[tkhd.at] === 1 ? 20 : 12)) !== track.id) continue;
    const stbl = path(b, trak, 'mdia', 'minf', 'stbl');
    const stsz = child(b, stbl, 'stsz');
    const stco = child(b, stbl, 'stco');
    const co64 = child(b, stbl, 'co64');
    if (!stsz || stsz.end - stsz.at < 12) continue;
    const fixed = v.getUint32(stsz.at + 4);
    const size = fixed || (stsz.end - stsz.at >= 16 ? v.getUint32(stsz.at + 12) : 0);
    const off = stco && stco.end - stco.at >= 12 ? v.getUint32(stco.at + 8) : co64 && co64.end - co64.at >= 16 ? v.getUint32(co64.at + 8) * 2 ** 32 + v.getUint32(co64.at + 12) : -1;
    if (off < 0 || size <= 0 || off + size > b.length) throw new Error('The picture file is cut.');
    return { track, data: b.subarray(off, off + size) };
  }
  throw new Error('The picture file holds no picture.');
}

/** Piece is what a stream of MP4 bytes is cut into. */
export interface Piece {
  kind: 'init' | 'fragment';
  bytes: Uint8Array;
}

/**
 * Cutter takes chunks as they come and gives whole inits (ftyp + moov) and
 * whole fragments (moof + mdat). Other boxes between them are passed over.
 */
export class Cutter {
  private buf = new Uint8Array(0);
  private have = 0;
  /** start of the piece being gathered, and where to look next */
  private from = 0;
  private next = 0;

  push(chunk: Uint8Array): Piece[] {
    this.room(chunk.length);
    this.buf.set(chunk, this.have);
    this.have += chunk.length;
    const out: Piece[] = [];
    for (;;) {
      const b = this.buf.subarray(0, this.have);
      const h = head(b, this.next);
      if (!h || this.next + h.size > this.have) break;
      const end = this.next + h.size;
      if (h.type === 'moov' || h.type === 'mdat') {
        out.push({ kind: h.type === 'moov' ? 'init' : 'fragment', bytes: b.slice(this.from, end) });
        this.from = end;
      } else if (h.type !== 'ftyp' && h.type !== 'moof') {
        // styp, sidx, free, prft: nothing a source buffer needs.
        if (this.from === this.next) this.from = end;
      }
      this.next = end;
    }
    return out;
  }

  private room(n: number): void {
    if (this.from > 0) {
      this.buf.copyWithin(0, this.from, this.have);
      this.have -= this.from;
      this.next -= this.from;
      this.from = 0;
    }
    if (this.have + n <= this.buf.length) return;
    const bigger = new Uint8Array(Math.max(1 << 16, (this.have + n) * 2));
    bigger.set(this.buf.subarray(0, this.have));
    this.buf = bigger;
  }
}
