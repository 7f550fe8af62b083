/** Every error code of Mesolite with what it means; `test/base/errors.test.ts` compares this table with its use. */
export const errorCodes = {
  INVALID_INPUT: 'a value from outside does not have the expected shape',
  TOO_LARGE: 'a value from outside is larger or deeper than its bound',
  NOT_FOUND: 'the named thing does not exist',
  CONFLICT: 'the request does not fit the present state',
  UNAUTHENTICATED: 'the caller did not prove who it is',
  FORBIDDEN: 'the caller is known and may not do this',
  UNAVAILABLE: 'the other side cannot be reached or is not ready',
  TIMED_OUT: 'no answer came within the time allowed',
  UNTRUSTED: 'a signature, a certificate or a hash does not verify',
  STALE: 'a signed document is older than one already seen, or expired',
  QUEUE_FULL: 'a bounded queue has no room',
  START_FAILED: 'a part of the system cannot start: a port, a directory or a program',
  INTERNAL: 'a defect in Mesolite itself',
} as const satisfies Record<string, string>;

export type ErrorCode = keyof typeof errorCodes;

/** One of ours, whatever somebody else says. */
export function errorCodeOf(said: string): ErrorCode {
  return isErrorCode(said) ? said : 'INTERNAL';
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCodes, code);
}

/** The one error class: told apart by `code`, never by text; `message` is lower case, without a period. */
export class MesoliteError extends Error {
  override readonly name = 'MesoliteError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** Is it ours, and (where `code` is given) of that code? */
export function isMesoliteError(error: unknown, code?: ErrorCode): error is MesoliteError {
  return error instanceof MesoliteError && (code === undefined || error.code === code);
}

/** A sentence for a log field or a status, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
