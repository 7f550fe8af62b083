import { Buffer } from 'node:buffer';

const lineEnd = '\r\n';

/** `data` as one chunk (RFC 9112 section 7.1). */
export function chunkOf(data: Buffer): Buffer {
  const size = `${data.length.toString(16)}${lineEnd}`;
  const chunk = Buffer.allocUnsafe(size.length + data.length + 2);
  chunk.write(size, 0, 'latin1');
  data.copy(chunk, size.length);
  chunk.write(lineEnd, size.length + data.length, 'latin1');
  return chunk;
}

/** The end of a chunked body; `trailers` are field lines that end in CR LF. */
export function lastChunk(trailers: string): Buffer {
  return Buffer.from(`0${lineEnd}${trailers}${lineEnd}`, 'latin1');
}
