import type { Buffer } from 'node:buffer';
import type { OutgoingHttpHeaders } from 'node:http2';
import { Body } from '../wire/body.ts';
import { parseFields } from '../wire/fields.ts';
import { Head } from '../wire/head.ts';
import { headerKind } from '../wire/header-names.ts';
import { parseRequest, parseResponse } from '../wire/parse.ts';

/** Hears of a message as it comes. `fields` are those that mean something beyond one connection. */
export interface MessageEvents {
  /** To a request with the method HEAD? Then no body follows whatever the response says. */
  readonly toHead: boolean;
  onInterim(status: number, fields: OutgoingHttpHeaders): void;
  /** `ended`: no body follows; `chunked`: trailers may. Head and bytes are valid during the call. */
  onHead(head: Head, bytes: Buffer, fields: OutgoingHttpHeaders, ended: boolean, chunked: boolean): void;
  onData(data: Buffer): void;
  onEnd(trailers: OutgoingHttpHeaders | undefined): void;
}

/** Not carried as fields: they are pseudo fields of HTTP/2, framing, or a matter of one connection. */
const stays = new Uint8Array(32);
for (const kind of [
  headerKind.host,
  headerKind.contentLength,
  headerKind.transferEncoding,
  headerKind.connection,
  headerKind.keepAlive,
  headerKind.upgrade,
  headerKind.te,
  headerKind.proxyConnection,
  headerKind.dropped,
]) {
  stays[kind] = 1;
}

/** Takes apart the HTTP/1.1 that the engine writes: whole heads, bodies in pieces, one message after another. */
export class MessageReader {
  readonly #head: Head;
  readonly #events: MessageEvents;
  readonly #kind: 'request' | 'response';
  readonly #body = new Body();
  #inBody = false;

  /** `head` may be shared, since it is used within one call. */
  constructor(kind: 'request' | 'response', head: Head, events: MessageEvents) {
    this.#kind = kind;
    this.#head = head;
    this.#events = events;
  }

  /** Takes what was written; false when it is no such message. */
  take(bytes: Buffer): boolean {
    let p = 0;
    while (p >= 0 && p < bytes.length) p = this.#inBody ? this.#readBody(bytes, p) : this.#readHead(bytes, p);
    return p >= 0;
  }

  /** Nothing more is written: ends a body that had no other end. */
  finish(): void {
    if (this.#inBody && this.#body.framing === 'until-close') this.#end(undefined);
  }

  #readHead(bytes: Buffer, from: number): number {
    const head = this.#head;
    const body = this.#body;
    const parse = this.#kind === 'request' ? parseRequest : parseResponse;
    const end = parse(head, bytes, from, bytes.length);
    if (end <= 0) return -1;
    const fields = fieldsOf(head, bytes);
    if (this.#kind === 'response' && head.status < 200) {
      this.#events.onInterim(head.status, fields);
      return end;
    }
    if (this.#kind === 'request') body.beginRequest(head);
    else body.beginResponse(head, this.#events.toHead);
    if (head.contentLength >= 0) fields['content-length'] = String(head.contentLength);
    this.#inBody = !body.done;
    this.#events.onHead(head, bytes, fields, body.done, body.framing === 'chunked');
    return end;
  }

  #readBody(bytes: Buffer, from: number): number {
    const body = this.#body;
    if (body.framing === 'chunked') return this.#readChunk(bytes, from);
    const end = body.take(bytes, from, bytes.length);
    if (end > from) this.#events.onData(bytes.subarray(from, end));
    if (body.done) this.#end(undefined);
    return end;
  }

  #readChunk(bytes: Buffer, from: number): number {
    const { chunks } = this.#body;
    const end = chunks.step(bytes, from, bytes.length);
    if (end < 0) return end;
    if (chunks.dataEnd > chunks.dataStart) this.#events.onData(bytes.subarray(chunks.dataStart, chunks.dataEnd));
    if (chunks.done) this.#end(trailersOf(chunks.trailers));
    return end;
  }

  #end(trailers: OutgoingHttpHeaders | undefined): void {
    this.#inBody = false;
    this.#events.onEnd(trailers);
  }
}

function fieldsOf(head: Head, bytes: Buffer): OutgoingHttpHeaders {
  const fields: OutgoingHttpHeaders = Object.create(null);
  for (let i = 0; i < head.count; i++) {
    if (stays[head.kind[i] ?? 0] === 1) continue;
    const name = bytes.toString('latin1', head.nameStart[i], head.nameEnd[i]).toLowerCase();
    const value = bytes.toString('latin1', head.valueStart[i], head.valueEnd[i]);
    const before = fields[name];
    if (before === undefined) fields[name] = value;
    else if (Array.isArray(before)) before.push(value);
    else fields[name] = [String(before), value];
  }
  return fields;
}

function trailersOf(section: Buffer): OutgoingHttpHeaders | undefined {
  if (section.length === 0) return undefined;
  const head = new Head();
  parseFields(head, section, 0, section.length);
  return fieldsOf(head, section);
}
