import { STATUS_CODES } from 'node:http';
import { isGrpcType } from '../grpc.ts';
import { fieldLines } from './request-text.ts';

type Fields = Readonly<Record<string, string | readonly string[] | undefined>>;

/** An HTTP/2 response as HTTP/1.1 writes it. */
export interface ResponseText {
  /** The head with its empty line, latin1. */
  readonly head: string;
  /** The body travels in chunks. */
  readonly chunked: boolean;
}

/**
 * The response with that status and those fields, in HTTP/1.1; undefined when it must not be passed on. `ended` tells that
 * nothing follows, `toHead` that the request was HEAD.
 */
export function responseText(
  status: number,
  { 'content-length': length, ...fields }: Fields,
  { ended, toHead }: { readonly ended: boolean; readonly toHead: boolean },
): ResponseText | undefined {
  const lines = fieldLines(fields);
  if (lines === undefined || Array.isArray(length)) return undefined;
  const isBodyless = toHead || status < 200 || status === 204 || status === 304;
  // a length leaves no room for trailers; those of gRPC are its status
  const hasTrailers = fields.trailer !== undefined || isGrpcType(String(fields['content-type']));
  const chunked = !isBodyless && !ended && (length === undefined || hasTrailers);
  const framing = chunked
    ? 'transfer-encoding: chunked\r\n'
    : length !== undefined
      ? `content-length: ${length}\r\n`
      : ended && !isBodyless
        ? 'content-length: 0\r\n'
        : '';
  return { head: `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines}${framing}\r\n`, chunked };
}
