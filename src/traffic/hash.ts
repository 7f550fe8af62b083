/**
 * MurmurHash3 (x86, 32 bits; Austin Appleby, public domain) of a latin-1 text, as an unsigned number. Envoy hashes with xxHash64; 32 bits
 * are what JavaScript multiplies without allocating, and every proxy of a mesh is one of these.
 */
export function hash32(text: string, seed = 0): number {
  const { length } = text;
  const blocks = length & ~3;
  let hash = seed;
  for (let i = 0; i < blocks; i += 4) {
    const block =
      (text.charCodeAt(i) & 0xff) |
      ((text.charCodeAt(i + 1) & 0xff) << 8) |
      ((text.charCodeAt(i + 2) & 0xff) << 16) |
      (text.charCodeAt(i + 3) << 24);
    hash ^= scrambled(block);
    hash = (hash << 13) | (hash >>> 19);
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
  }
  let rest = 0;
  for (let i = length - 1; i >= blocks; i--) rest = (rest << 8) | (text.charCodeAt(i) & 0xff);
  return mixed(hash ^ scrambled(rest) ^ length);
}

function scrambled(block: number): number {
  const k = Math.imul(block, 0xcc9e2d51);
  return Math.imul((k << 15) | (k >>> 17), 0x1b873593);
}

/** Spreads each bit of a number over all 32. */
export function mixed(number: number): number {
  let hash = number;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
