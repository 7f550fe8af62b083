import { pino } from 'pino';
import { isMesoliteError, messageOf } from '../base/errors.ts';
import type { Log, LogFields } from '../base/log.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface LogSettings {
  /** The role that speaks. */
  readonly name: string;
  readonly level: LogLevel;
  /** Where lines go; standard output when left out, there as plain text if a person watches. */
  readonly destination?: { write(line: string): void };
}

/** A slip must not become a leak: fields of these names never show their value, at the top or one level down. */
const secretFields = [
  'secret',
  'token',
  'password',
  'authorization',
  'cookie',
  'privateKey',
  'join',
  'mac',
  'env',
].flatMap(name => [name, `*.${name}`]);

/** The one sink of logs: a JSON line an entry (`level`, `time`, `name`, `msg` and the fields). */
export function makeLog({ name, level, destination = standardOutput() }: LogSettings): Log {
  const sink = pino(
    {
      level,
      base: { name },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
      serializers: { error: describeError, cause: describeError },
      redact: { paths: secretFields, censor: '[secret]' },
    },
    destination,
  );
  return wrap(sink);
}

function wrap(sink: pino.Logger): Log {
  const entry =
    (level: LogLevel) =>
    (sentence: string, fields: LogFields = {}) =>
      sink[level](fields, sentence);
  return {
    debug: entry('debug'),
    info: entry('info'),
    warn: entry('warn'),
    error: entry('error'),
    with: fields => wrap(sink.child(fields)),
  };
}

/** Without the stack for our own errors: their sentence says it all. */
function describeError(error: unknown): unknown {
  if (isMesoliteError(error)) {
    const cause = error.cause === undefined ? {} : { cause: messageOf(error.cause) };
    return { code: error.code, message: error.message, ...cause };
  }
  return error instanceof Error ? { message: error.message, stack: error.stack } : error;
}

function standardOutput(): { write(line: string): void } {
  if (!process.stdout.isTTY) return pino.destination({ fd: 1, sync: true });
  return { write: line => void process.stdout.write(plainLine(line)) };
}

/** `07:31:02 warn  agent: the sentence  field=value`: one JSON line for a person's eye. */
export function plainLine(line: string): string {
  const { time, level, name, msg, ...fields }: Record<string, unknown> = JSON.parse(line);
  const rest = Object.entries(fields).map(
    ([key, value]) => ` ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return `${String(time).slice(11, 19)} ${String(level).padEnd(5)} ${name}: ${msg} ${rest.join('')}\n`;
}
