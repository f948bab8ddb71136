import { describe, expect, it } from 'vitest';
import { boxes, Cutter, decodeTime, firstPicture, head, tracks } from './boxes';

const u32 = (n: number) => [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
const cat = (...p: (number[] | Uint8Array)[]) => Uint8Array.from(p.flatMap((x) => [...x]));
const box = (type: string, ...body: (number[] | Uint8Array)[]) => {
  const b = cat(...body);
  return cat(u32(b.length + 8), [...type].map((c) => c.charCodeAt(0)), b);
};
const zeros = (n: number) => new Uint8Array(n);

const avcc = box('avcC', [1, 0x64, 0, 0x1f, 255, 225, 0, 0, 1, 0, 0]);
function moov(id = 1, scale = 90000, stbl: Uint8Array[] = []) {
  const entry = box('avc1', zeros(24), [1920 >> 8, 1920 & 255, 1080 >> 8, 1080 & 255], zeros(50), avcc);
  return box('moov', box('mvhd', zeros(100)), box('trak', box('tkhd', zeros(12), u32(id), zeros(64)), box('mdia', box('mdhd', zeros(12), u32(scale), zeros(8)), box('hdlr', zeros(8), [...'vide'].map((c) => c.charCodeAt(0)), zeros(13)), box('minf', box('stbl', box('stsd', zeros(4), u32(1), entry), ...stbl)))));
}
const init = cat(box('ftyp', zeros(8)), moov());
function fragment(time: number, data: Uint8Array, id = 1) {
  const make = (off: number) => box('moof', box('mfhd', zeros(8)), box('traf', box('tfhd', [0, 2, 0, 0], u32(id)), box('tfdt', [1, 0, 0, 0], u32(Math.floor(time / 2 ** 32)), u32(time)), box('trun', [0, 0, 2, 1], u32(1), u32(off), u32(data.length))));
  return cat(make(make(0).length + 8), box('mdat', data));
}

describe('boxes', () => {
  it('reads tracks of an init', () => {
    const t = tracks(init)[0]!;
    expect(t).toMatchObject({ id: 1, kind: 'video', timescale: 90000, codec: 'avc1.64001f', width: 1920, height: 1080 });
    expect(t.description).toHaveLength(11);
  });
  it('reads decode times beyond 32 bits, of the right track', () => {
    expect(decodeTime(fragment(2 ** 33 + 5, zeros(3)), 1)).toBe(2 ** 33 + 5);
    expect(decodeTime(fragment(7, zeros(3)), 2)).toBeUndefined();
  });
  it('cuts a stream into pieces, however it is chunked', () => {
    const frags = [fragment(0, Uint8Array.of(1, 2, 3)), fragment(3600, zeros(70_000)), fragment(7200, Uint8Array.of(9))];
    const whole = cat(init, box('styp', zeros(4)), frags[0]!, box('free', zeros(11)), frags[1]!, frags[2]!, zeros(0));
    for (const n of [1, 7, 64, 4096, 1 << 20]) {
      const c = new Cutter();
      const got = [];
      for (let i = 0; i < whole.length; i += n) got.push(...c.push(whole.subarray(i, i + n)));
      expect(got.map((p) => p.kind)).toEqual(['init', 'fragment', 'fragment', 'fragment']);
      expect([...got[0]!.bytes]).toEqual([...init]);
      got.slice(1).forEach((p, i) => expect(p.bytes).toEqual(frags[i]));
    }
  });
  it('takes the picture out of a fragmented file and out of a plain one', () => {
    const pic = Uint8Array.of(0, 0, 0, 1, 0x65);
    expect([...firstPicture(cat(init, fragment(0, pic))).data]).toEqual([...pic]);
    const plain = (off: number) => cat(box('ftyp', zeros(8)), moov(1, 90000, [box('stsz', zeros(4), u32(0), u32(1), u32(pic.length)), box('stco', zeros(4), u32(1), u32(off))]), box('mdat', pic));
    const off = plain(0).length - pic.length;
    expect([...firstPicture(plain(off)).data]).toEqual([...pic]);
    expect(() => firstPicture(plain(off + 4))).toThrow(/cut/);
  });
  it('refuses what is not MP4', () => {
    expect(() => head(cat(u32(4), [0, 0, 0, 0]), 0)).toThrow();
    expect(() => new Cutter().push(cat(u32(0x7fffffff), [109, 111, 111, 102]))).toThrow(/64 MiB/);
    expect(() => tracks(zeros(40).fill(0, 0))).toThrow();
    expect(() => tracks(box('free', zeros(9)))).toThrow(/moov/);
  });
  it('never reads outside, whatever the bytes', () => {
    const whole = cat(init, fragment(0, zeros(40)));
    let seed = 7;
    const rnd = () => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) / 0x7fffffff;
    for (let i = 0; i < 4000; i++) {
      const b = whole.slice(0, 1 + Math.floor(rnd() * whole.length));
      for (let k = 0; k < 4; k++) b[Math.floor(rnd() * b.length)] = Math.floor(rnd() * 256);
      for (const f of [() => boxes(b), () => tracks(b), () => decodeTime(b, 1), () => firstPicture(b), () => new Cutter().push(b)])
        try {
          f();
        } catch (e) {
          expect(e).toBeInstanceOf(Error);
          expect(e).not.toBeInstanceOf(TypeError);
        }
    }
  });
});
