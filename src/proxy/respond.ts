import { Buffer } from 'node:buffer';
import { STATUS_CODES } from 'node:http';
import { allRefusals, reasonOf, refuse } from './wire/refusals.ts';

/** Envoy's response flags, as far as they can arise here; `-` is none. */
export type ResponseFlag = '-' | 'UF' | 'UC' | 'UH' | 'UO' | 'UT' | 'UPE' | 'SI' | 'NR' | 'DC' | 'DPE' | 'FI' | 'RL';

/**
 * Flags that come beside another: delayed on purpose, tried as often as may be, not tried again since too many retries are under way, over
 * a limit that is not enforced (a flag of our own).
 */
export type ResponseNote = '' | 'DI' | 'URX' | 'UO' | 'RL:shadow';

/** An answer that the proxy gives by itself: complete messages, made once. */
export interface LocalAnswer {
  readonly status: number;
  readonly flag: ResponseFlag;
  readonly bodyBytes: number;
  /** The lines of `makeAnswer`'s `headers`. */
  readonly headers: string;
  /** Whole messages: the connection stays, or is closed behind it; the same without a body, for HEAD. */
  readonly keep: string;
  readonly close: string;
  readonly keepHead: string;
  readonly closeHead: string;
}

/** Makes an answer of plain text; `headers` are further header lines, each ending in CR LF. */
export function makeAnswer(status: number, text: string | Uint8Array, flag: ResponseFlag, headers = ''): LocalAnswer {
  const body = Buffer.from(typeof text === 'string' ? new TextEncoder().encode(text) : text).toString('latin1');
  return composed(status, body, flag, headers);
}

/** The same answer with further header lines. */
export function answerWith(answer: LocalAnswer, lines: string): LocalAnswer {
  if (lines === '') return answer;
  const { status, flag, headers, keep, keepHead } = answer;
  return composed(status, keep.slice(keepHead.length), flag, headers + lines);
}

/** `text` in latin1; left out where the status allows no body (RFC 9110 sections 15.3.5 and 15.4.5): who reads it so takes it for another answer. */
function composed(status: number, text: string, flag: ResponseFlag, headers: string): LocalAnswer {
  const isBare = status === 204 || status === 304;
  const body = isBare ? '' : text;
  const length = isBare ? '' : `content-length: ${body.length}\r\n`;
  const type = body === '' || /^content-type:/m.test(headers) ? '' : 'content-type: text/plain\r\n';
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Unknown'}\r\n${length}` + `${type}${headers}`;
  const keepHead = `${head}\r\n`;
  const closeHead = `${head}connection: close\r\n\r\n`;
  return {
    status,
    flag,
    bodyBytes: body.length,
    headers,
    keep: keepHead + body,
    close: closeHead + body,
    keepHead,
    closeHead,
  };
}

/** The message of an answer as it goes on the wire. */
export function messageOfAnswer(answer: LocalAnswer, toHead: boolean, close: boolean): string {
  if (close) return toHead ? answer.closeHead : answer.close;
  return toHead ? answer.keepHead : answer.keep;
}

/** Of an answer in a response's place: no application has seen anything of the request, so another one may be asked, whatever it is. */
export const refusedLine = 'x-mesolite-refused: true\r\n';

/** Envoy's RBAC filter says exactly this. */
export const accessDenied = makeAnswer(403, 'RBAC: access denied', '-');
export const badPath = makeAnswer(400, 'the path has no normal form', 'DPE');
export const noWorkload = makeAnswer(503, 'no workload is served under this name here', 'UH', refusedLine);
/** A connection that was opened before the rules asked for TLS. */
export const notPlain = makeAnswer(403, 'this port takes mutual TLS alone', '-');
export const notReady = makeAnswer(503, 'the task that is published here is not ready', 'UH');
export const requestTimeout = makeAnswer(408, 'request timeout', '-');
export const streamIdleRequest = makeAnswer(408, 'stream timeout', 'SI');
export const streamIdle = makeAnswer(504, 'stream timeout', 'SI');
export const upstreamTimeout = makeAnswer(504, 'upstream request timeout', 'UT');
export const badUpstream = makeAnswer(
  502,
  'upstream connect error or disconnect/reset before headers. reset reason: protocol error',
  'UPE',
);

/** Why there is no upstream connection for a request. */
export type Unavailable = 'connection-failure' | 'connection-termination' | 'overflow' | 'no-healthy-upstream';

const resetBefore = 'upstream connect error or disconnect/reset before headers. reset reason:';
const unavailable: Readonly<Record<Unavailable, LocalAnswer>> = {
  'connection-failure': makeAnswer(503, `${resetBefore} connection failure`, 'UF'),
  'connection-termination': makeAnswer(503, `${resetBefore} connection termination`, 'UC'),
  overflow: makeAnswer(503, `${resetBefore} overflow`, 'UO', 'x-envoy-overloaded: true\r\n'),
  'no-healthy-upstream': makeAnswer(503, 'no healthy upstream', 'UH'),
};

/** `refusalLine`: what is said where no connection could be had, if somebody wants to know. */
export function answerUnavailable(why: Unavailable, refusalLine = ''): LocalAnswer {
  return answerWith(unavailable[why], why === 'connection-failure' ? refusalLine : '');
}

const refusals = new Map(
  allRefusals.map(refusal => {
    const { status, text } = reasonOf(refusal);
    return [refusal, makeAnswer(status, `bad request: ${text}`, 'DPE')];
  }),
);

/** The answer to what the parser refused. */
export function answerRefusal(refusal: number): LocalAnswer {
  return refusals.get(refusal) ?? answerRefusal(refuse.headerValue);
}
