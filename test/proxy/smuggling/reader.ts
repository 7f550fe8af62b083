/** How some program reads HTTP/1.1. */
export interface Style {
  readonly name: string;
  /** What ends a line. */
  readonly newline: RegExp;
  /** Refuses whatever has two readings. */
  readonly strict: boolean;
  /** Of two lengths. */
  readonly length: 'first' | 'last';
  /** Of a length and an encoding. */
  readonly prefers: 'length' | 'encoding';
  /** Takes names and values for what their letters say. */
  readonly lax: boolean;
}

const plain = { newline: /\r\n/y, strict: false, length: 'first', prefers: 'encoding', lax: false } as const;

/** As RFC 9112 has it, without its leniencies. */
export const strict: Style = { ...plain, name: 'strict', strict: true };

/** Programs that are known to be out there: what is forwarded must be one and the same thing for each. */
export const styles: readonly Style[] = [
  strict,
  { ...plain, name: 'a line feed ends a line', newline: /\r?\n/y },
  { ...plain, name: 'a carriage return ends a line', newline: /\r\n?|\n/y },
  { ...plain, name: 'the first length counts', prefers: 'length' },
  { ...plain, name: 'the last length counts', prefers: 'length', length: 'last' },
  { ...plain, name: 'names by their letters', lax: true },
  { ...plain, name: 'names by their letters, and line feeds', lax: true, newline: /\r?\n/y, prefers: 'length' },
];

export interface Field {
  readonly name: string;
  readonly value: string;
}

export interface Message {
  readonly start: string;
  readonly fields: readonly Field[];
  readonly body: string;
  /** Behind the message. */
  readonly end: number;
}

export type Reading = Message | 'incomplete' | 'malformed';

/** `request`, or what a response answers: a response to HEAD has no body. */
export type Kind = 'request' | 'response' | 'response to HEAD';

const requestLine = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+ HTTP\/1\.[01]$/;
const statusLine = /^HTTP\/1\.[01] [1-5]\d\d( [\t\x20-\x7e\x80-\xff]*)?$/;
const fieldLine = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*$/;

/** The values of the header with this lower-case name. */
export function valuesOf(message: Pick<Message, 'fields'>, name: string): readonly string[] {
  return message.fields.filter(field => field.name === name).map(({ value }) => value);
}

/** The line at `from`, and where the next one begins; undefined when it has not ended. */
function lineAt(text: string, from: number, { newline }: Style): readonly [line: string, next: number] | undefined {
  for (let at = from; at < text.length; at++) {
    const c = text.charCodeAt(at);
    if (c !== 10 && c !== 13) continue;
    newline.lastIndex = at;
    const found = newline.exec(text);
    if (found !== null) return [text.slice(from, at), at + found[0].length];
  }
  return undefined;
}

/** Lines up to the empty one, and what is behind it. */
function linesAt(text: string, from: number, style: Style): readonly [lines: string[], next: number] | undefined {
  const lines: string[] = [];
  let at = from;
  for (;;) {
    const found = lineAt(text, at, style);
    if (found === undefined) return undefined;
    at = found[1];
    if (found[0] === '') return [lines, at];
    lines.push(found[0]);
  }
}

function fieldOf(line: string, { lax }: Style): Field {
  const colon = line.indexOf(':');
  const name = line.slice(0, Math.max(colon, 0)).toLowerCase();
  const value = line.slice(colon + 1).replace(/^[\t ]+|[\t ]+$/g, '');
  return lax ? { name: name.replaceAll(/[^a-z]+/g, '-'), value: value.replaceAll(/[^\w,-]/g, '') } : { name, value };
}

/** Reads the message at `from`; `ended` says that no more bytes will come. */
export function readMessage(text: string, from: number, style: Style, kind: Kind, ended = false): Reading {
  const found = linesAt(text, from, style);
  if (found === undefined) return ended && from < text.length ? 'malformed' : 'incomplete';
  const [[start = '', ...rest], at] = found;
  const startLine = kind === 'request' ? requestLine : statusLine;
  if (style.strict && !(startLine.test(start) && rest.every(line => fieldLine.test(line)))) return 'malformed';
  const head = { start, fields: rest.map(line => fieldOf(line, style)) };
  return readBody(head, text, at, style, kind, ended);
}

type Head = Pick<Message, 'start' | 'fields'>;

function readBody(head: Head, text: string, at: number, style: Style, kind: Kind, ended: boolean): Reading {
  const lengths = valuesOf(head, 'content-length');
  const encodings = valuesOf(head, 'transfer-encoding');
  if (style.strict && !isPlain(lengths, encodings)) return 'malformed';
  if (kind !== 'request' && hasNoBody(head.start, kind)) return { ...head, body: '', end: at };
  const length = style.length === 'first' ? lengths[0] : lengths.at(-1);
  const isChunked =
    encodings.some(value => /chunked/i.test(value)) && (length === undefined || style.prefers === 'encoding');
  if (isChunked) return readChunks(head, text, at, style);
  if (length === undefined) {
    if (kind === 'request') return { ...head, body: '', end: at };
    return ended ? { ...head, body: text.slice(at), end: text.length } : 'incomplete';
  }
  const end = at + naturalOf(length, 10);
  return end > text.length ? 'incomplete' : { ...head, body: text.slice(at, end), end };
}

function isPlain(lengths: readonly string[], encodings: readonly string[]): boolean {
  return (
    lengths.length + encodings.length <= 1 &&
    lengths.every(value => /^\d{1,15}$/.test(value)) &&
    encodings.every(value => value.toLowerCase() === 'chunked')
  );
}

/** As a careless program reads a number. */
function naturalOf(text: string, radix: number): number {
  return Math.max(0, Number.parseInt(text, radix) || 0);
}

function hasNoBody(start: string, kind: Kind): boolean {
  return kind === 'response to HEAD' || / (1\d\d|204|304)( |$)/.test(start);
}

function readChunks(head: Head, text: string, from: number, style: Style): Reading {
  let body = '';
  let at = from;
  for (;;) {
    const size = lineAt(text, at, style);
    if (size === undefined) return 'incomplete';
    if (style.strict && !/^[0-9a-f]{1,8}$/i.test(size[0])) return 'malformed';
    const length = naturalOf(size[0], 16);
    at = size[1];
    if (length === 0) break;
    body += text.slice(at, at + length);
    const end = lineAt(text, at + length, style);
    if (end === undefined) return 'incomplete';
    if (style.strict && end[0] !== '') return 'malformed';
    at = end[1];
  }
  const trailers = linesAt(text, at, style);
  if (trailers === undefined) return 'incomplete';
  if (style.strict && !trailers[0].every(line => fieldLine.test(line))) return 'malformed';
  return { ...head, body, end: trailers[1] };
}

export interface Messages {
  readonly messages: readonly Message[];
  /** Why the rest of the text is none. */
  readonly rest: 'nothing' | 'incomplete' | 'malformed';
}

/** Reads message after message; `kindOf` says what the next one is, behind those that were read. */
export function readMessages(
  text: string,
  style: Style,
  kindOf: (before: readonly Message[]) => Kind,
  ended = false,
): Messages {
  const messages: Message[] = [];
  let at = 0;
  while (at < text.length) {
    const reading = readMessage(text, at, style, kindOf(messages), ended);
    if (typeof reading === 'string') return { messages, rest: reading };
    messages.push(reading);
    at = reading.end;
  }
  return { messages, rest: 'nothing' };
}
