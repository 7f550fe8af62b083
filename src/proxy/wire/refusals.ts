/** Why a message is not understood: what the parsers return, always below zero. */
export const refuse = {
  method: -1,
  target: -2,
  version: -3,
  headerName: -4,
  headerValue: -5,
  tooManyHeaders: -6,
  tooLarge: -7,
  contentLength: -8,
  transferEncoding: -9,
  lengthAndEncoding: -10,
  host: -11,
  connectionOption: -12,
  expectation: -13,
  disguisedName: -14,
  statusLine: -15,
  chunk: -16,
  trailer: -17,
} as const;

interface Reason {
  readonly status: number;
  readonly text: string;
}

const reasons: readonly Reason[] = [
  { status: 400, text: 'not understood' },
  { status: 400, text: 'the method must be a token of at most 32 characters, followed by one space' },
  { status: 400, text: 'the request target must be a path, or an http:// address, without "#" or control characters' },
  { status: 400, text: 'the version must be HTTP/1.1 or HTTP/1.0, followed by CR LF' },
  { status: 400, text: 'a header name must be a token directly followed by a colon' },
  { status: 400, text: 'a header value must have no control characters and end with CR LF' },
  { status: 431, text: 'more than 100 headers' },
  { status: 431, text: 'the head is larger than 16 KiB' },
  { status: 400, text: 'content-length must be given once, as digits' },
  { status: 400, text: 'transfer-encoding must be given once, as chunked, in HTTP/1.1' },
  { status: 400, text: 'content-length and transfer-encoding exclude each other' },
  { status: 400, text: 'exactly one valid host header is required' },
  { status: 400, text: 'connection names a header that is not hop-by-hop' },
  { status: 417, text: 'expect must be 100-continue' },
  { status: 400, text: 'a header name imitates a framing or identity header' },
  { status: 400, text: 'the status line must be HTTP/1.x and a status from 100 to 599' },
  { status: 400, text: 'a chunk must be hexadecimal digits, CR LF, that many bytes, CR LF' },
  { status: 400, text: 'trailers must be at most 8 KiB of plain headers' },
];

/** The status and the sentence for a refusal. */
export function reasonOf(refusal: number): Reason {
  return reasons[-refusal] ?? { status: 400, text: 'not understood' };
}

/** Every refusal, for answers that are made once. */
export const allRefusals: readonly number[] = Object.values(refuse);
