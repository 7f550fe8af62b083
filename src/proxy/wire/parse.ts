import type { Buffer } from 'node:buffer';
import { parseFields, tokenByte, valueByte } from './fields.ts';
import { type Head, incomplete } from './head.ts';
import { refuse } from './refusals.ts';

const maxMethodBytes = 32;

// Bytes by class. A target has no "#": a fragment is never sent, and servers differ in what they do with one.
const targetByte = new Uint8Array(256).fill(1, 0x21, 0x7f);
targetByte[0x23] = 0;
const authorityByte = new Uint8Array(256);
for (const c of '%-.:[]_~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz') {
  authorityByte[c.charCodeAt(0)] = 1;
}

/**
 * Reads a request head (RFC 9112, without any of its lenient readings) from `bytes` between `from` and `limit`.
 * Returns the offset behind it, `incomplete`, or a refusal (below zero).
 */
export function parseRequest(head: Head, bytes: Buffer, from: number, limit: number): number {
  let p = from;
  if (bytes[p] === 13) {
    // one empty line before the request line is skipped (RFC 9112 section 2.2)
    if (p + 1 >= limit) return incomplete;
    if (bytes[p + 1] !== 10) return refuse.method;
    p += 2;
  }
  head.start = p;
  while (p < limit && tokenByte[bytes[p] ?? 0] === 1) p++;
  if (p - head.start > maxMethodBytes) return refuse.method;
  if (p >= limit) return incomplete;
  if (bytes[p] !== 32 || p === head.start) return refuse.method;
  head.methodEnd = p++;
  head.connect = isConnect(head, bytes);
  const targetStart = p;
  while (p < limit && targetByte[bytes[p] ?? 0] === 1) p++;
  if (p >= limit) return incomplete;
  if (bytes[p] !== 32 || p === targetStart || !readTarget(head, bytes, targetStart, p)) return refuse.target;
  p++;
  if (p + 10 > limit) return isVersionSoFar(bytes, p, limit) ? incomplete : refuse.version;
  head.minor = (bytes[p + 7] ?? 0) - 48;
  if (!isVersion(bytes, p) || bytes[p + 8] !== 13 || bytes[p + 9] !== 10) return refuse.version;
  const end = parseFields(head, bytes, p + 10, limit);
  if (end <= 0) return end;
  // CONNECT names its authority in the target, and old clients give it alone
  if (head.host < 0 ? !head.connect : !isHost(head, bytes)) return refuse.host;
  // an encoding that HTTP/1.0 does not have is a sign of tampering (RFC 9112 section 6.1)
  if (head.chunked && head.minor === 0) return refuse.transferEncoding;
  return end;
}

/** Reads a response head as `parseRequest` does a request's. */
export function parseResponse(head: Head, bytes: Buffer, from: number, limit: number): number {
  let p = from;
  head.start = p;
  if (p + 13 > limit) return isVersionSoFar(bytes, p, limit) ? incomplete : refuse.statusLine;
  head.minor = (bytes[p + 7] ?? 0) - 48;
  if (!isVersion(bytes, p) || bytes[p + 8] !== 32) return refuse.statusLine;
  head.status = decimal(bytes, p + 9, p + 12);
  // HTTP/1.0 has no 1xx: some readers take one for the whole answer
  if (head.status < (head.minor === 0 ? 200 : 100) || head.status > 599) return refuse.statusLine;
  p += 12;
  if (bytes[p] !== 32 && bytes[p] !== 13) return refuse.statusLine;
  while (p < limit && valueByte[bytes[p] ?? 0] === 1) p++;
  if (p >= limit) return incomplete;
  if (bytes[p] !== 13) return refuse.statusLine;
  if (p + 1 >= limit) return incomplete;
  if (bytes[p + 1] !== 10) return refuse.statusLine;
  return parseFields(head, bytes, p + 2, limit);
}

/** Origin form, absolute form (`http://…`), `*` of OPTIONS, or the authority of CONNECT; anything else is refused. */
function readTarget(head: Head, bytes: Buffer, start: number, end: number): boolean {
  head.authorityStart = head.authorityEnd = head.pathStart = start;
  head.pathEnd = end;
  if (head.connect) return readAuthority(head, bytes, start, end);
  if (bytes[start] !== 47) {
    if (bytes[start] === 42) {
      head.queryStart = end;
      return end - start === 1 && bytes.toString('latin1', head.start, head.methodEnd) === 'OPTIONS';
    }
    if (end - start < 8 || bytes.toString('latin1', start, start + 7).toLowerCase() !== 'http://') return false;
    let p = start + 7;
    head.authorityStart = p;
    while (p < end && authorityByte[bytes[p] ?? 0] === 1) p++;
    head.authorityEnd = head.pathStart = p;
    if (p === head.authorityStart || (p < end && bytes[p] !== 47 && bytes[p] !== 63)) return false;
  }
  let p = head.pathStart;
  while (p < end && bytes[p] !== 63) p++;
  head.queryStart = p;
  return true;
}

/** `host:port` (RFC 9112 section 3.2.3). */
function readAuthority(head: Head, bytes: Buffer, start: number, end: number): boolean {
  let p = start;
  while (p < end && authorityByte[bytes[p] ?? 0] === 1) p++;
  if (p < end || !/^[^:]+:\d{1,5}$/.test(bytes.toString('latin1', start, end))) return false;
  head.authorityEnd = head.pathStart = head.queryStart = end;
  return true;
}

function isConnect(head: Head, bytes: Buffer): boolean {
  return bytes[head.start] === 67 && bytes.toString('latin1', head.start, head.methodEnd) === 'CONNECT';
}

function isVersion(bytes: Buffer, p: number): boolean {
  const minor = bytes[p + 7];
  return (
    bytes[p] === 72 &&
    bytes[p + 1] === 84 &&
    bytes[p + 2] === 84 &&
    bytes[p + 3] === 80 &&
    bytes[p + 4] === 47 &&
    bytes[p + 5] === 49 &&
    bytes[p + 6] === 46 &&
    (minor === 48 || minor === 49)
  );
}

/** Could these bytes grow into a version? So that nonsense is refused before the head's time is up. */
function isVersionSoFar(bytes: Buffer, from: number, limit: number): boolean {
  const text = bytes.toString('latin1', from, limit);
  return 'HTTP/1.1'.startsWith(text.slice(0, 7)) && /^.{0,7}$|^.{7}[01][\r ]?[\n\d]{0,3}$/.test(text);
}

function isHost(head: Head, bytes: Buffer): boolean {
  const end = head.valueEnd[head.host] ?? 0;
  let p = head.valueStart[head.host] ?? 0;
  if (p === end) return false;
  while (p < end && authorityByte[bytes[p] ?? 0] === 1) p++;
  return p === end;
}

function decimal(bytes: Buffer, from: number, end: number): number {
  let value = 0;
  for (let i = from; i < end; i++) {
    const digit = (bytes[i] ?? 0) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}
