import type { LocalAnswer } from './respond.ts';

/** The statuses of gRPC that stand for those of HTTP (grpc/doc/http-grpc-status-mapping.md); all others are UNKNOWN. */
const grpcStatuses: Readonly<Record<number, number>> = {
  400: 13,
  401: 16,
  403: 7,
  404: 12,
  429: 14,
  502: 14,
  503: 14,
  504: 14,
};
const unknown = 2;
/** The statuses of HTTP as which Envoy counts those of gRPC, from OK to UNAUTHENTICATED. */
const httpStatuses: readonly number[] = [
  200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401,
];

/** Is it the media type of gRPC, in any of its encodings? */
export function isGrpcType(contentType: string): boolean {
  return /^application\/grpc(?:[+;]|$)/i.test(contentType);
}

/**
 * The answer as gRPC tells it, as Envoy does: status 200, and the outcome in `grpc-status` and `grpc-message`. A whole
 * message without a body.
 */
export function grpcMessageOf(answer: LocalAnswer, close: boolean): string {
  const status = grpcStatuses[answer.status] ?? unknown;
  const text = answer.keep.slice(answer.keepHead.length).replace(/[^ -$&-~]/g, percentEncoded);
  return (
    `HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-type: application/grpc\r\n${answer.headers}` +
    `grpc-status: ${status}\r\ngrpc-message: ${text}\r\n${close ? 'connection: close\r\n' : ''}\r\n`
  );
}

function percentEncoded(byte: string): string {
  return `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
}

/** The status of HTTP that a `grpc-status` stands for; undefined when it is none. */
export function httpStatusOf(grpcStatus: string): number | undefined {
  return /^\d{1,2}$/.test(grpcStatus) ? httpStatuses[Number(grpcStatus)] : undefined;
}
