import { type ErrorCode, isMesoliteError } from '../../base/errors.ts';

/** The one place where an error becomes an HTTP status. */
const statusOf: Readonly<Record<ErrorCode, number>> = {
  INVALID_INPUT: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  CONFLICT: 409,
  STALE: 409,
  TOO_LARGE: 413,
  QUEUE_FULL: 429,
  INTERNAL: 500,
  START_FAILED: 500,
  UNTRUSTED: 400,
  UNAVAILABLE: 503,
  TIMED_OUT: 504,
};

export interface ErrorAnswer {
  readonly status: number;
  readonly body: { readonly error: { readonly code: string; readonly message: string } };
}

/** What a caller is told; a defect of ours is named no further than that. */
export function answerOf(error: unknown): ErrorAnswer {
  if (isMesoliteError(error)) {
    return { status: statusOf[error.code], body: { error: { code: error.code, message: error.message } } };
  }
  const status = statusOfFastify(error);
  if (status === undefined) {
    return { status: 500, body: { error: { code: 'INTERNAL', message: 'the master failed; its log says why' } } };
  }
  const code = status === 413 ? 'TOO_LARGE' : 'INVALID_INPUT';
  return { status, body: { error: { code, message: error instanceof Error ? error.message : 'bad request' } } };
}

/** Fastify's own refusals (body too large, bad JSON, wrong content type) carry a status below 500. */
function statusOfFastify(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('statusCode' in error)) return undefined;
  const { statusCode } = error;
  return typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500 ? statusCode : undefined;
}
