import { Buffer } from 'node:buffer';

const http2Preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** Is it the beginning of HTTP/2's preface, and no request of HTTP/1.1? */
export function isHttp2(bytes: Buffer): boolean {
  const length = Math.min(bytes.length, http2Preface.length);
  return bytes.subarray(0, length).equals(http2Preface.subarray(0, length));
}
