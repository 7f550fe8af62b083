export type LogFields = Readonly<Record<string, unknown>>;

/** A constant sentence and fields; `info` is what a person would want in the night. Never a secret, a token or a body. */
export interface Log {
  debug(sentence: string, fields?: LogFields): void;
  info(sentence: string, fields?: LogFields): void;
  warn(sentence: string, fields?: LogFields): void;
  error(sentence: string, fields?: LogFields): void;
  /** A log that adds `fields` to each entry. */
  with(fields: LogFields): Log;
}

/** For callers that do not want to hear anything. */
export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  with: () => silentLog,
};
