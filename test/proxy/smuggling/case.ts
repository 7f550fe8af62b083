/** What a proxy does with something odd: refuses it, forwards what it understood in its own words, or forwards the very bytes. */
export type Verdict = 'refused' | 'canonical' | 'as is';

interface Case {
  readonly name: string;
  /** The odd part: where it reaches the other side, it was forwarded as is. */
  readonly odd: RegExp | string;
  /** What ours does. */
  readonly ours: Verdict;
}

/** Bytes that a client sends in place of a request. */
export interface RequestCase extends Case {
  readonly bytes: string;
  /** The length of its body as it is meant; 0 unless given. */
  readonly body?: number;
  /** How many requests the bytes are; 1 unless given. */
  readonly requests?: number;
  /** The connection ends with it: what is sent behind it is not read. */
  readonly last?: boolean;
}

/** Bytes that an application sends in place of a response. Whatever says `injected` is a response that nobody asked for. */
export interface ResponseCase extends Case {
  readonly answer: string;
  /** To what; a plain GET unless given. */
  readonly request?: string;
  /** The application closes its connection behind the answer. */
  readonly closes?: boolean;
  /** It answers when it has the head of the request. */
  readonly early?: boolean;
  /** It says this later, when the client has its answer and no request is open. */
  readonly afterwards?: string;
}

export const get = (lines = ''): string => `GET /case HTTP/1.1\r\nHost: a\r\n${lines}\r\n`;
export const post = (lines: string, body: string): string => `POST /case HTTP/1.1\r\nHost: a\r\n${lines}\r\n${body}`;
export const chunked = (body: string): string => post('Transfer-Encoding: chunked\r\n', body);
/** The last chunk. */
export const last = '0\r\n\r\n';
/** A request that an attacker hides in a body. */
export const hidden = 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n';

type Spec = readonly [bytes: string, odd: RegExp | string, more?: Partial<RequestCase>];

export function requestCases(ours: Verdict, cases: Readonly<Record<string, Spec>>): readonly RequestCase[] {
  return Object.entries(cases).map(([name, [bytes, odd, more]]) => ({ name, bytes, odd, ours, ...more }));
}
