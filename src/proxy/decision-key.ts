import type { Buffer } from 'node:buffer';
import type { Proof } from './tokens/tokens.ts';
import { word } from './wire/fields.ts';
import type { Head } from './wire/head.ts';
import { equalsWord } from './wire/header-names.ts';

/** Requests whose texts are longer are decided each time, so that the cache is bounded in bytes too. */
export const maxKeyLength = 1024;

/** What of a request's fields verdicts depend on. */
export interface FieldsRead {
  /** Names in lower case, as text and as bytes. */
  readonly headers: readonly { readonly name: string; readonly word: Uint8Array }[];
  readonly claims: boolean;
}

export function fieldsRead(headers: readonly string[], claims: boolean): FieldsRead {
  return { headers: headers.map(name => ({ name, word: word(name) })), claims };
}

/** Of one request after the other, what rules read of its headers and tokens: always in the same bytes, so that asking allocates nothing. */
export class KeyOfFields {
  readonly bytes = new Uint8Array(maxKeyLength);
  /** `maxKeyLength` when they are not all there. */
  length = 0;

  write(read: FieldsRead, head: Head, bytes: Buffer, proof: Proof | undefined): void {
    this.length = 0;
    let ofToken = read.claims;
    for (const { name, word } of read.headers) {
      // no byte of a value is 0 or 1
      this.#add(0);
      if (proof?.names.has(name) === true) ofToken = true;
      else this.#addField(word, head, bytes);
    }
    if (!ofToken || proof === undefined) return;
    // a value must not pass for a token
    this.#add(0);
    for (const serial of proof.serials) for (let shift = 0; shift < 32; shift += 8) this.#add(serial >>> shift);
  }

  #addField(word: Uint8Array, head: Head, bytes: Buffer): void {
    for (let i = 0; i < head.count; i++) {
      if (!equalsWord(bytes, head.nameStart[i] ?? 0, head.nameEnd[i] ?? 0, word)) continue;
      this.#add(1);
      const end = head.valueEnd[i] ?? 0;
      for (let at = head.valueStart[i] ?? 0; at < end; at++) this.#add(bytes[at] ?? 0);
    }
  }

  #add(byte: number): void {
    if (this.length < maxKeyLength) this.bytes[this.length++] = byte;
  }
}

/** Are the bytes from `start` to `end` those that are known? */
export function holds(bytes: Uint8Array, start: number, end: number, known: Uint8Array): boolean {
  if (end - start !== known.length) return false;
  for (let i = 0; i < known.length; i++) if (known[i] !== bytes[start + i]) return false;
  return true;
}

/** FNV-1a, going on from `seed`. */
export function hashBytes(seed: number, bytes: Uint8Array, start: number, end: number): number {
  let hash = seed;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ (bytes[i] ?? 0), 0x01000193);
  return hash;
}

/** The same of a text, by its code units. */
export function hashText(seed: number, text: string): number {
  let hash = seed;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}
