import type { Buffer } from 'node:buffer';
import { type Head, incomplete, maxHeaders } from './head.ts';
import { equalsWord, headerKind, isDisguised, isHopByHop, kindOf, kindOfWord, readsAs } from './header-names.ts';
import { refuse } from './refusals.ts';

/** The bytes of a token (RFC 9110 section 5.6.2). */
export const tokenByte = new Uint8Array(256);
for (const c of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
  tokenByte[c.charCodeAt(0)] = 1;
}
/** The bytes of a header value or a reason phrase, blanks and obs-text among them. */
export const valueByte = new Uint8Array(256).fill(1, 32);
valueByte[9] = 1;
valueByte[127] = 0;

/** A lower-case name as `fieldOf` and `dropNamed` look for it. */
export const word = (text: string): Uint8Array => Uint8Array.from(text, c => c.charCodeAt(0));
const chunkedWord = word('chunked');
const continueWord = word('100-continue');
const webSocketWord = word('websocket');
const trailersWord = word('trailers');
const closeWord = word('close');
const keepAliveWord = word('keep-alive');
/** Content-Length has at most this many digits, so that it stays a safe integer. */
const maxLengthDigits = 15;

/**
 * Reads header fields up to the empty line (RFC 9112 section 5, strictly: no folding, no bare CR or LF, no space before
 * the colon). Returns the offset behind the empty line, `incomplete`, or a refusal.
 */
export function parseFields(head: Head, bytes: Buffer, from: number, limit: number): number {
  head.clearFields();
  let options = '';
  let asksWebSocket = false;
  let p = from;
  for (;;) {
    if (p >= limit) return incomplete;
    if (bytes[p] === 13) {
      if (p + 1 >= limit) return incomplete;
      if (bytes[p + 1] !== 10) return refuse.headerName;
      break;
    }
    const index = head.count;
    if (index === maxHeaders) return refuse.tooManyHeaders;
    p = readLine(head, bytes, index, p, limit);
    if (p <= 0) return p;
    const kind = head.kind[index];
    if (kind === headerKind.other) continue;
    if (kind === headerKind.connection) options = addOptions(head, bytes, index, options);
    else if (kind === headerKind.upgrade) asksWebSocket = valueIs(head, bytes, index, webSocketWord);
    else {
      const refusal = noteSpecial(head, bytes, index, kind ?? 0);
      if (refusal < 0) return refusal;
    }
    if (kind !== undefined && staysHere(kind)) head.rewrite = true;
  }
  head.end = p + 2;
  if (head.chunked && head.contentLength >= 0) return refuse.lengthAndEncoding;
  if (options !== '' && !applyOptions(head, bytes, options, asksWebSocket)) return refuse.connectionOption;
  return head.end;
}

/** One `name: value CR LF`; returns the offset of the next line, `incomplete`, or a refusal. */
function readLine(head: Head, bytes: Buffer, index: number, start: number, limit: number): number {
  let p = start;
  while (p < limit && tokenByte[bytes[p] ?? 0] === 1) p++;
  if (p >= limit) return incomplete;
  // also catches folding, a space before the colon, a bare LF and NUL
  if (bytes[p] !== 58 || p === start) return refuse.headerName;
  const nameEnd = p++;
  while (p < limit && isBlank(bytes[p])) p++;
  const valueStart = p;
  while (p < limit && valueByte[bytes[p] ?? 0] === 1) p++;
  if (p >= limit) return incomplete;
  if (bytes[p] !== 13) return refuse.headerValue;
  if (p + 1 >= limit) return incomplete;
  if (bytes[p + 1] !== 10) return refuse.headerValue;
  let valueEnd = p;
  while (valueEnd > valueStart && isBlank(bytes[valueEnd - 1])) valueEnd--;
  const kind = kindOf(bytes, start, nameEnd);
  if (kind === headerKind.other && isDisguised(bytes, start, nameEnd)) return refuse.disguisedName;
  head.nameStart[index] = start;
  head.nameEnd[index] = nameEnd;
  head.valueStart[index] = valueStart;
  head.valueEnd[index] = valueEnd;
  head.kind[index] = kind;
  head.count = index + 1;
  // framing in any but the plainest spelling is spelled anew
  if (isFraming(kind) && (valueStart !== nameEnd + 2 || bytes[nameEnd + 1] !== 32 || valueEnd !== p)) {
    head.rewrite = true;
  }
  return p + 2;
}

function isBlank(c: number | undefined): boolean {
  return c === 32 || c === 9;
}

function isFraming(kind: number): boolean {
  return kind === headerKind.contentLength || kind === headerKind.transferEncoding;
}

function staysHere(kind: number): boolean {
  return isHopByHop(kind) || kind === headerKind.clientCertificate || kind === headerKind.refused;
}

/** Takes note of a header that the proxy acts on; a refusal when it may not be there or be so. */
function noteSpecial(head: Head, bytes: Buffer, index: number, kind: number): number {
  switch (kind) {
    case headerKind.host:
      if (head.host >= 0) return refuse.host;
      head.host = index;
      return 0;
    case headerKind.contentLength:
      if (head.contentLength >= 0) return refuse.contentLength;
      head.contentLength = readLength(head, bytes, index);
      return head.contentLength < 0 ? refuse.contentLength : 0;
    case headerKind.transferEncoding:
      if (head.chunked || !valueIs(head, bytes, index, chunkedWord)) return refuse.transferEncoding;
      head.chunked = true;
      // some servers know the word in lower case only
      if (!isLowerCase(bytes, head.valueStart[index] ?? 0, head.valueEnd[index] ?? 0)) head.rewrite = true;
      return 0;
    case headerKind.expect:
      if (!valueIs(head, bytes, index, continueWord)) return refuse.expectation;
      head.expectContinue = true;
      return 0;
    case headerKind.te:
      // trailers are forwarded, so the wish for them may be too
      if (valueIs(head, bytes, index, trailersWord)) head.kind[index] = headerKind.other;
      return 0;
    case headerKind.contentType:
      // to be known where it is, and otherwise a header like others
      head.contentType = index;
      head.kind[index] = headerKind.other;
      return 0;
    case headerKind.requestId:
      head.requestId = index;
      return 0;
    case headerKind.proxyAuthorization:
      head.proxyAuthorization = index;
      return 0;
    case headerKind.refused:
      head.isRefusal = true;
      return 0;
    default:
      return 0;
  }
}

function isLowerCase(bytes: Buffer, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (((bytes[i] ?? 0) & 32) === 0) return false;
  return true;
}

function readLength(head: Head, bytes: Buffer, index: number): number {
  const start = head.valueStart[index] ?? 0;
  const end = head.valueEnd[index] ?? 0;
  if (end === start || end - start > maxLengthDigits) return -1;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = (bytes[i] ?? 0) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  if (bytes[start] === 48 && end - start > 1) head.rewrite = true;
  return value;
}

/** `close` and `keep-alive` alone are noted at once; anything else is gathered for a second look. */
function addOptions(head: Head, bytes: Buffer, index: number, options: string): string {
  if (valueIs(head, bytes, index, keepAliveWord)) head.keepAlive = true;
  else if (valueIs(head, bytes, index, closeWord)) head.close = true;
  else return `${options},${valueText(head, bytes, index).toLowerCase()}`;
  return options;
}

/** Acts on the names in `Connection`; false when one names a header that is meant for the other end. */
function applyOptions(head: Head, bytes: Buffer, options: string, asksWebSocket: boolean): boolean {
  for (const part of options.split(',')) {
    const option = part.trim();
    if (option === '') continue;
    if (option === 'close') head.close = true;
    else if (option === 'keep-alive') head.keepAlive = true;
    else if (option === 'upgrade') head.webSocket = asksWebSocket && head.minor === 1;
    else if (option !== 'te') {
      const kind = kindOfWord(option);
      if (kind !== undefined && !isHopByHop(kind)) return false;
      if (kind === undefined) dropNamed(head, bytes, word(option));
    }
  }
  return true;
}

/** Leaves every header with this lower-case name, given as bytes, out of what is forwarded. */
export function dropNamed(head: Head, bytes: Buffer, name: Uint8Array): void {
  for (let i = 0; i < head.count; i++) {
    if (equalsWord(bytes, head.nameStart[i] ?? 0, head.nameEnd[i] ?? 0, name)) head.drop(i);
  }
}

/** Leaves out every header whose name has these lower-case letters, in whatever spelling (`X_Forwarded_For`). */
export function dropAlike(head: Head, bytes: Buffer, letters: Uint8Array): void {
  for (let i = 0; i < head.count; i++) {
    if (readsAs(bytes, head.nameStart[i] ?? 0, head.nameEnd[i] ?? 0, letters)) head.drop(i);
  }
}

function valueIs(head: Head, bytes: Buffer, index: number, lowerWord: Uint8Array): boolean {
  return equalsWord(bytes, head.valueStart[index] ?? 0, head.valueEnd[index] ?? 0, lowerWord);
}

/** The value of the header at `index`, as it came. */
export function valueText(head: Head, bytes: Buffer, index: number): string {
  return bytes.toString('latin1', head.valueStart[index], head.valueEnd[index]);
}

/** The value of the header with this lower-case name, several joined by a comma (RFC 9110 section 5.3); or undefined. */
export function fieldNamed(head: Head, bytes: Buffer, name: string): string | undefined {
  return fieldOf(head, bytes, word(name));
}

/** `fieldNamed` for a name that was made into bytes before. */
export function fieldOf(head: Head, bytes: Buffer, wanted: Uint8Array): string | undefined {
  let value: string | undefined;
  for (let i = 0; i < head.count; i++) {
    if (!equalsWord(bytes, head.nameStart[i] ?? 0, head.nameEnd[i] ?? 0, wanted)) continue;
    value = value === undefined ? valueText(head, bytes, i) : `${value},${valueText(head, bytes, i)}`;
  }
  return value;
}
