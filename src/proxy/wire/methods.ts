import type { Buffer } from 'node:buffer';
import type { Head } from './head.ts';

/** What is to be known of a request method, a bit each (RFC 9110 section 9.2). */
export const method = {
  /** The response has no body. */
  head: 1,
  /** Sending the request twice has the effect of sending it once. */
  idempotent: 2,
  /** A body has no meaning, so that some servers take it for the next request. */
  bodyless: 4,
  options: 8,
} as const;

const traits: readonly (readonly [string, number])[] = [
  ['GET', method.idempotent | method.bodyless],
  ['PUT', method.idempotent],
  ['HEAD', method.head | method.idempotent | method.bodyless],
  ['TRACE', method.idempotent | method.bodyless],
  ['DELETE', method.idempotent],
  ['OPTIONS', method.idempotent | method.options],
];

/** The traits of the request's method; none for one that is not known. */
export function traitsOf(bytes: Buffer, head: Head): number {
  const length = head.methodEnd - head.start;
  for (const [name, known] of traits) {
    if (name.length === length && matches(bytes, head.start, name)) return known;
  }
  return 0;
}

/** The request's method; no new text for one that is known. */
export function methodOf(bytes: Buffer, head: Head): string {
  const length = head.methodEnd - head.start;
  for (const [name] of traits) if (name.length === length && matches(bytes, head.start, name)) return name;
  return bytes.toString('latin1', head.start, head.methodEnd);
}

function matches(bytes: Buffer, start: number, name: string): boolean {
  for (let i = 0; i < name.length; i++) if (bytes[start + i] !== name.charCodeAt(i)) return false;
  return true;
}
