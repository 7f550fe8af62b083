import { Buffer } from 'node:buffer';
import type { Head } from './head.ts';
import { travels } from './header-names.ts';

/** Up to this size a message is written as one latin1 string, which Node sends faster than a small Buffer. */
export const stringBytes = 8 * 1024;

/** The header lines of an upgrade, which are hop-by-hop and so written anew on each leg. */
export const upgradeLines = 'connection: upgrade\r\nupgrade: websocket\r\n';

/**
 * The head to forward, with its empty line: as it came plus `additions` where that is right, otherwise its travelling
 * headers in runs, with the framing spelled as it was understood. `startLine` (without CR LF; empty to keep it) stands
 * in for the one that came, `additions` are header lines that end in CR LF, and `framed` is false where the message can
 * have no body whatever its headers say.
 */
export function forwardedHead(
  head: Head,
  bytes: Buffer,
  startLine: string,
  additions: string,
  framed: boolean,
): string {
  if (!head.rewrite && startLine === '' && framed) {
    return `${bytes.toString('latin1', head.start, head.end - 2)}${additions}\r\n`;
  }
  const fields = head.count > 0 ? (head.nameStart[0] ?? 0) : head.end - 2;
  let text = startLine === '' ? bytes.toString('latin1', head.start, fields) : `${startLine}\r\n`;
  let runStart = -1;
  for (let i = 0; i < head.count; i++) {
    const start = head.nameStart[i] ?? 0;
    if (travels[head.kind[i] ?? 0] === 1) {
      if (runStart < 0) runStart = start;
    } else if (runStart >= 0) {
      text += bytes.toString('latin1', runStart, start);
      runStart = -1;
    }
  }
  if (runStart >= 0) text += bytes.toString('latin1', runStart, head.end - 2);
  if (framed && head.chunked) text += 'transfer-encoding: chunked\r\n';
  else if (framed && head.contentLength >= 0) text += `content-length: ${head.contentLength}\r\n`;
  return `${text}${additions}\r\n`;
}

/** Is the head to forward the very bytes that came? Then it can be sent in one piece with what follows it. */
export function goesAsItCame(head: Head, additions: string, framed: boolean): boolean {
  return !head.rewrite && additions === '' && framed;
}

/** `text` followed by the bytes from `from` to `end`, copied: a string while it is small, a Buffer otherwise. */
export function joined(text: string, bytes: Buffer, from: number, end: number): string | Buffer {
  if (from === end) return text;
  const length = text.length + end - from;
  if (length <= stringBytes) return text + bytes.toString('latin1', from, end);
  const whole = Buffer.allocUnsafeSlow(length);
  whole.write(text, 0, 'latin1');
  bytes.copy(whole, text.length, from, end);
  return whole;
}
