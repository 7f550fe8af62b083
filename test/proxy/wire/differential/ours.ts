import type { Buffer } from 'node:buffer';
import { Body } from '../../../../src/proxy/wire/body.ts';
import { valueText } from '../../../../src/proxy/wire/fields.ts';
import { Head, incomplete } from '../../../../src/proxy/wire/head.ts';
import { parseRequest, parseResponse } from '../../../../src/proxy/wire/parse.ts';
import { refuse } from '../../../../src/proxy/wire/refusals.ts';
import { forwardedHead } from '../../../../src/proxy/wire/rewrite.ts';
import type { Read, Reading } from './message.ts';

/** As our proxy reads it. */
export interface OurReading extends Reading {
  /** It would not forward every head as it came. */
  readonly rewrites: boolean;
  /** What it would forward of whole messages with such heads. */
  readonly rewritten: string;
  /** The last message says that no other comes behind it. */
  readonly ended: boolean;
}

const head = new Head();
const body = new Body();
const names = new Map<number, string>(Object.entries(refuse).map(([name, code]) => [code, name]));

/** The requests in `bytes`, up to one that ends the connection. */
export function readRequests(bytes: Buffer): OurReading {
  const messages: Read[] = [];
  let rewritten = '';
  let rewrites = false;
  let ended = false;
  let at = 0;
  while (at < bytes.length) {
    const end = parseRequest(head, bytes, at, bytes.length);
    if (end === incomplete) break;
    if (end < 0) return { messages, refusal: nameOf(end), rewrites, rewritten, ended: false };
    // what comes behind is no HTTP
    if (head.connect) return { messages, refusal: undefined, rewrites, rewritten, ended: true };
    const start = bytes.toString('latin1', head.start, head.pathEnd);
    const message = begin(start, bytes);
    messages.push(message);
    body.beginRequest(head);
    const { rewrite, close, minor } = head;
    rewrites ||= rewrite;
    const text = rewrite ? forwardedHead(head, bytes, '', '', true) : '';
    const after = takeBody(message, bytes, end);
    if (after < 0) return { messages, refusal: nameOf(after), rewrites, rewritten, ended: false };
    if (rewrite && message.isWhole) rewritten += text + bytes.toString('latin1', end, after);
    ended = close || minor === 0 || asksUpgrade(message);
    if (ended || !message.isWhole) break;
    at = after;
  }
  return { messages, refusal: undefined, rewrites, rewritten, ended };
}

/** The response in `bytes`, behind those of status 1xx. */
export function readResponse(bytes: Buffer, toHead: boolean): OurReading {
  const rest = { rewrites: false, rewritten: '', ended: true };
  let at = 0;
  for (;;) {
    const end = parseResponse(head, bytes, at, bytes.length);
    if (end === incomplete) return { messages: [], refusal: undefined, ...rest };
    if (end < 0) return { messages: [], refusal: nameOf(end), ...rest };
    if (head.chunked && head.minor === 0) return { messages: [], refusal: 'transferEncoding', ...rest };
    at = end;
    // what comes behind is no HTTP
    if (head.status === 101) return { messages: [], refusal: undefined, ...rest };
    if (head.status >= 200) break;
  }
  const message = begin(String(head.status), bytes);
  body.beginResponse(head, toHead);
  rest.rewrites = head.rewrite;
  const text = head.rewrite ? forwardedHead(head, bytes, '', '', head.status !== 204) : '';
  const after = takeBody(message, bytes, at);
  if (text !== '' && message.isWhole) rest.rewritten = text + bytes.toString('latin1', at, after);
  return { messages: [message], refusal: after < 0 ? nameOf(after) : undefined, ...rest };
}

function nameOf(refusal: number): string {
  return names.get(refusal) ?? String(refusal);
}

/** Behind a request for any upgrade Node reads no other one, though it goes on without the upgrade. */
function asksUpgrade({ fields }: Read): boolean {
  return fields.some((name, i) => i % 2 === 0 && name.toLowerCase() === 'upgrade');
}

function begin(start: string, bytes: Buffer): Read {
  const fields: string[] = [];
  for (let i = 0; i < head.count; i++) {
    fields.push(bytes.toString('latin1', head.nameStart[i], head.nameEnd[i]), valueText(head, bytes, i));
  }
  return { start, minor: head.minor, fields, bodyBytes: 0, isWhole: false };
}

/** Takes the body piece by piece; returns the offset behind it, or a refusal. */
function takeBody(message: Read, bytes: Buffer, from: number): number {
  let at = from;
  while (at < bytes.length && !body.done) {
    if (body.framing === 'chunked') {
      const { chunks } = body;
      at = chunks.step(bytes, at, bytes.length);
      if (at < 0) return at;
      message.bodyBytes += chunks.dataEnd - chunks.dataStart;
      body.done = chunks.done;
    } else {
      const end = body.take(bytes, at, bytes.length);
      message.bodyBytes += end - at;
      at = end;
    }
  }
  message.isWhole = body.done;
  return at;
}
