import { Buffer } from 'node:buffer';
import asn1 from 'node-forge/lib/asn1.js';
import { MesoliteError } from '../base/errors.ts';
import type { Bounds } from '../base/shape.ts';

/** Identifier octets (class, constructed bit, number) of the elements that certificates and requests are made of. */
export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** One element of a DER text; `content` and `raw` are views of the bytes as they came. */
export interface DerElement {
  readonly tag: number;
  readonly content: Buffer;
  /** Identifier, length and content. */
  readonly raw: Buffer;
  /** Empty for a primitive element. */
  readonly children: readonly DerElement[];
}

/** An element to be written. */
export type DerValue = ReturnType<typeof asn1.create>;

const constructedBit = 0x20;
const tagNumber = 0x1f;

/** Reads exactly one element; throws TOO_LARGE, or INVALID_INPUT for anything but canonical DER without trailing bytes. */
export function readDer(input: Uint8Array, what: string, bounds: Bounds): DerElement {
  if (input.length > bounds.maxBytes) {
    throw new MesoliteError('TOO_LARGE', `${what}: ${input.length} bytes, at most ${bounds.maxBytes} are taken`);
  }
  const bytes = Buffer.from(input);
  let value: DerValue;
  try {
    value = asn1.fromDer(bytes.toString('latin1'), { decodeBitStrings: false, maxDepth: bounds.maxDepth });
  } catch (cause) {
    throw new MesoliteError('INVALID_INPUT', `${what}: not DER, or nested deeper than ${bounds.maxDepth}`, { cause });
  }
  // forge also takes BER: lengths that are indefinite or padded, which other readers may see differently
  if (!encodeDer(value).equals(bytes)) throw new MesoliteError('INVALID_INPUT', `${what}: not canonical DER`);
  return locate(value, bytes, what);
}

/** Gives each element the bytes it came from; holds only where re-encoding gives the input. */
function locate(value: DerValue, raw: Buffer, what: string): DerElement {
  const tag = tagOf(value);
  if ((tag & tagNumber) === tagNumber) throw new MesoliteError('INVALID_INPUT', `${what}: a tag of several bytes`);
  const content = raw.subarray(headerLength(raw));
  if (typeof value.value === 'string') return { tag, content, raw, children: [] };
  let offset = 0;
  const children = value.value.map(child => {
    const rest = content.subarray(offset);
    const own = rest.subarray(0, headerLength(rest) + contentLength(rest));
    offset += own.length;
    return locate(child, own, what);
  });
  return { tag, content, raw, children };
}

function tagOf(value: DerValue): number {
  return value.tagClass | value.type | (value.constructed ? constructedBit : 0);
}

function headerLength(raw: Buffer): number {
  const first = raw.readUInt8(1);
  return first < 0x80 ? 2 : 2 + (first & 0x7f);
}

function contentLength(raw: Buffer): number {
  const first = raw.readUInt8(1);
  return first < 0x80 ? first : raw.readUIntBE(2, first & 0x7f);
}

/** Its children, when it has that tag; throws INVALID_INPUT otherwise, as do all readers below. */
export function childrenOf(element: DerElement | undefined, tag: number, what: string): readonly DerElement[] {
  return expectTag(element, tag, what).children;
}

export function contentOf(element: DerElement | undefined, tag: number, what: string): Buffer {
  return expectTag(element, tag, what).content;
}

/** The OID in dots; one that is not written in the one canonical way is refused. */
export function oidOf(element: DerElement | undefined, what: string): string {
  const content = contentOf(element, tags.oid, what).toString('latin1');
  try {
    const oid = asn1.derToOid(content);
    if (asn1.oidToDer(oid).getBytes() === content) return oid;
  } catch {
    // forge throws for what no OID of ours has: an empty one, or a number beyond 32 bits
  }
  throw new MesoliteError('INVALID_INPUT', `${what}: not an OID that can be read`);
}

/** DER knows true as 0xff alone, and leaves out a false that is the default. */
export function booleanOf(element: DerElement | undefined, what: string): boolean {
  const content = contentOf(element, tags.boolean, what);
  if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff)) {
    throw new MesoliteError('INVALID_INPUT', `${what}: not a boolean`);
  }
  return content[0] === 0xff;
}

/** A whole number from 0 to 127: versions and path lengths. */
export function smallIntegerOf(element: DerElement | undefined, what: string): number {
  const content = contentOf(element, tags.integer, what);
  const [number] = content;
  if (content.length !== 1 || number === undefined || number > 127) {
    throw new MesoliteError('INVALID_INPUT', `${what}: expected a number from 0 to 127`);
  }
  return number;
}

/** The bytes of a bit string that is made of whole bytes. */
export function bitStringOf(element: DerElement | undefined, what: string): Buffer {
  const content = contentOf(element, tags.bitString, what);
  if (content[0] !== 0) throw new MesoliteError('INVALID_INPUT', `${what}: expected a bit string of whole bytes`);
  return content.subarray(1);
}

function expectTag(element: DerElement | undefined, tag: number, what: string): DerElement {
  if (element?.tag === tag) return element;
  const found = element === undefined ? 'nothing' : `tag 0x${element.tag.toString(16)}`;
  throw new MesoliteError('INVALID_INPUT', `${what}: expected DER tag 0x${tag.toString(16)}, found ${found}`);
}

export function encodeDer(value: DerValue): Buffer {
  return Buffer.from(asn1.toDer(value).getBytes(), 'latin1');
}

/** An element of any tag from its content: bytes where it is primitive, children where it is constructed. */
export function element(tag: number, content: Uint8Array | readonly DerValue[]): DerValue {
  const value = content instanceof Uint8Array ? Buffer.from(content).toString('latin1') : content;
  return asn1.create(tag & 0xc0, tag & tagNumber, (tag & constructedBit) !== 0, value);
}

export function sequence(...children: readonly DerValue[]): DerValue {
  return element(tags.sequence, children);
}

export function set(...children: readonly DerValue[]): DerValue {
  return element(tags.set, children);
}

export function oid(dotted: string): DerValue {
  return element(tags.oid, Buffer.from(asn1.oidToDer(dotted).getBytes(), 'latin1'));
}

export function boolean(value: boolean): DerValue {
  return element(tags.boolean, Buffer.of(value ? 0xff : 0));
}

/** A non-negative whole number, big-endian. */
export function integer(magnitude: Uint8Array): DerValue {
  const start = magnitude.findIndex(byte => byte !== 0);
  const digits = start < 0 ? Buffer.of(0) : Buffer.from(magnitude.subarray(start));
  const signed = (digits[0] ?? 0) < 0x80 ? digits : Buffer.concat([Buffer.of(0), digits]);
  return element(tags.integer, signed);
}

export function bitString(bytes: Uint8Array, unusedBits = 0): DerValue {
  return element(tags.bitString, Buffer.concat([Buffer.of(unusedBits), bytes]));
}

export function octetString(bytes: Uint8Array): DerValue {
  return element(tags.octetString, bytes);
}

export function utf8String(text: string): DerValue {
  return element(tags.utf8String, Buffer.from(text));
}

/** Milliseconds since 1970 as RFC 5280 4.1.2.5 wants it: UTCTime through 2049, GeneralizedTime from 2050 to 9999. */
export function time(ms: number): DerValue {
  const digits = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '');
  const year = Number(digits.slice(0, 4));
  return year >= 1950 && year < 2050
    ? element(tags.utcTime, Buffer.from(digits.slice(2)))
    : element(tags.generalizedTime, Buffer.from(digits));
}

/** DER that exists already: a public key, a name. */
export function encoded(der: Uint8Array): DerValue {
  return asn1.fromDer(Buffer.from(der).toString('latin1'), { decodeBitStrings: false, maxDepth: 16 });
}
