import { type LocalAnswer, makeAnswer } from '../respond.ts';

/** An HTTP/2 request as HTTP/1.1 writes it. */
export interface RequestText {
  /** The head with its empty line, latin1. */
  readonly head: string;
  /** Bytes of the body that were announced; -1 when none were. */
  readonly contentLength: number;
  /** The body travels in chunks. */
  readonly chunked: boolean;
  readonly toHead: boolean;
}

/** `absolute` names the authority in the target, as an HTTP proxy wants it. */
export type TargetForm = 'origin' | 'absolute';

const refusal = (text: string): LocalAnswer => makeAnswer(400, `bad request: ${text}`, 'DPE');
const badPseudo = refusal('an HTTP/2 request must have one each of :method, :scheme, :path and :authority');
const badPath = refusal(':path must begin with "/", or be "*" of OPTIONS');
const badField = refusal('a header must have a lower-case name and no control characters');
const badConnection = refusal('HTTP/2 has no connection-specific headers');
const badTe = refusal('te must be trailers');
const badHost = refusal('host and :authority must agree');
const badLength = refusal('content-length must be given once, as digits, and agree with the body');
const noConnect = refusal('CONNECT is not taken over HTTP/2');

const fieldName = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const fieldValue = /^[\t\x20-\x7e\x80-\xff]*$/;
const methodToken = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}$/;
const digits = /^\d{1,15}$/;
/** What is a matter of one connection (RFC 9113 section 8.2.2). */
const ofConnections = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);
/** A request of these methods without a body says so, since HTTP/1.1 servers may insist. */
const wantsLength = new Set(['POST', 'PUT', 'PATCH']);

/**
 * The request whose field lines are `raw` (name, value, name, …), in HTTP/1.1 (RFC 9113 section 8.3.1), or the answer to
 * what must not be passed on. `ended` tells that it has no body.
 */
export function requestText(raw: readonly string[], ended: boolean, form: TargetForm): RequestText | LocalAnswer {
  const pseudo = new Map<string, string>();
  let lines = '';
  let host: string | undefined;
  let length: string | undefined;
  let cookie = '';
  let announcesTrailers = false;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? '';
    const value = raw[i + 1] ?? '';
    if (!fieldValue.test(value)) return badField;
    if (name.startsWith(':')) {
      if (pseudo.has(name)) return badPseudo;
      pseudo.set(name, value);
    } else if (!fieldName.test(name)) return badField;
    else if (ofConnections.has(name)) return badConnection;
    else if (name === 'host') {
      if (host !== undefined && host !== value) return badHost;
      host = value;
    } else if (name === 'content-length') {
      if (length !== undefined || !digits.test(value)) return badLength;
      length = value;
    } else if (name === 'cookie') cookie += cookie === '' ? value : `; ${value}`;
    else if (name === 'te' && value !== 'trailers') return badTe;
    else {
      if (name === 'trailer') announcesTrailers = true;
      lines += `${name}: ${value}\r\n`;
    }
  }
  const start = startLines(pseudo, host, form);
  if (typeof start !== 'string') return start;
  const contentLength = length === undefined ? -1 : Number(length);
  if (ended && contentLength > 0) return badLength;
  if (cookie !== '') lines += `cookie: ${cookie}\r\n`;
  const method = pseudo.get(':method') ?? '';
  // a length leaves no room for trailers
  const chunked = !ended && (contentLength < 0 || announcesTrailers);
  const framing = framingLine(method, chunked, contentLength);
  return { head: `${start}${lines}${framing}\r\n`, contentLength, chunked, toHead: method === 'HEAD' };
}

/** The request line and `host`. */
function startLines(
  pseudo: ReadonlyMap<string, string>,
  host: string | undefined,
  form: TargetForm,
): string | LocalAnswer {
  const method = pseudo.get(':method') ?? '';
  const path = pseudo.get(':path') ?? '';
  const authority = pseudo.get(':authority') ?? host ?? '';
  if (method === 'CONNECT') return noConnect;
  if (pseudo.size !== (pseudo.has(':authority') ? 4 : 3)) return badPseudo;
  if (!methodToken.test(method) || !pseudo.has(':scheme') || authority === '') return badPseudo;
  if (host !== undefined && host.toLowerCase() !== authority.toLowerCase()) return badHost;
  const isStar = path === '*' && method === 'OPTIONS';
  if (path.includes(' ') || !(path.startsWith('/') || isStar)) return badPath;
  if (form === 'origin' || isStar) return `${method} ${path} HTTP/1.1\r\nhost: ${authority}\r\n`;
  return `${method} http://${authority}${path} HTTP/1.1\r\nhost: ${authority}\r\n`;
}

function framingLine(method: string, chunked: boolean, contentLength: number): string {
  if (chunked) return 'transfer-encoding: chunked\r\n';
  if (contentLength >= 0) return `content-length: ${contentLength}\r\n`;
  return wantsLength.has(method) ? 'content-length: 0\r\n' : '';
}

/** Is it an answer, and no request? */
export function isAnswer(text: RequestText | LocalAnswer): text is LocalAnswer {
  return 'flag' in text;
}

/** Field lines of trailers, each ending in CR LF; undefined when they must not be passed on. */
export function fieldLines(
  fields: Readonly<Record<string, string | readonly string[] | undefined>>,
): string | undefined {
  let lines = '';
  for (const [name, given] of Object.entries(fields)) {
    for (const value of typeof given === 'string' ? [given] : (given ?? [])) {
      if (!fieldName.test(name) || !fieldValue.test(value)) return undefined;
      lines += `${name}: ${value}\r\n`;
    }
  }
  return lines;
}
