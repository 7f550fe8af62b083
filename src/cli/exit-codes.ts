import { CommanderError } from 'commander';
import { type ErrorCode, isMesoliteError } from '../base/errors.ts';

/** With what `mesolite` ends. */
export const exitCodes = {
  ok: 0,
  /** Refused by the master or by a check before it, not found, or failed on the way. */
  failed: 1,
  /** The command line is not one, or no context is set. */
  usage: 2,
  /** The master cannot be reached, does not answer, is not the right one, or does not accept the token. */
  unreachable: 3,
  /** Ended by SIGINT or SIGTERM before it was done; as shells count it (128 + SIGINT). */
  interrupted: 130,
} as const;

const unreachable: ReadonlySet<ErrorCode> = new Set([
  'UNAVAILABLE',
  'TIMED_OUT',
  'UNTRUSTED',
  'UNAUTHENTICATED',
  'FORBIDDEN',
]);

/** A question was answered with no, and that has been said. */
export class AnsweredNo extends Error {
  constructor() {
    super('no');
  }
}

/** A command elsewhere has ended with this code, and has said what there was to say. */
export class CommandEnded extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit code ${exitCode}`);
    this.exitCode = exitCode;
  }
}

/** Commands that ask: as with `diff`, 1 is an answer, and what keeps them from one is 2. */
const questions: ReadonlySet<string> = new Set(['analyze', 'diff', 'explain']);

/** The command cannot be carried out as it was written. */
export function usageError(message: string): CommanderError {
  return new CommanderError(exitCodes.usage, 'mesolite.usage', message);
}

/** What is wrong with a command line, in our words: commander says `error: option '--for <time>' argument 'x' is invalid. expected …`. */
export function usageText(message: string): string {
  const text = message.replace(/^error: /, '');
  const [, option, got, reason] = /^option '([^']+)' argument '(.*)' is invalid\. (.+)$/s.exec(text) ?? [];
  const [, given, argument, why] =
    /^command-argument value '(.*)' is invalid for argument '([^']+)'\. (.+)$/s.exec(text) ?? [];
  const name = option?.split(/,? /).find(word => word.startsWith('--')) ?? option ?? argument;
  if (name === undefined) return text;
  const expected = (reason ?? why ?? '').replace(/^Allowed choices are (.+)\.$/, 'expected one of $1');
  return /\bgot\b/.test(expected)
    ? `${name}: ${expected}`
    : `${name}: ${expected}, got ${JSON.stringify(got ?? given)}`;
}

/** The one place where an error becomes an exit code; `command` is the first word of the command line. */
export function exitCodeOf(error: unknown, command = ''): number {
  if (error instanceof AnsweredNo) return exitCodes.failed;
  if (error instanceof CommandEnded) return error.exitCode;
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  if (isMesoliteError(error) && unreachable.has(error.code)) return exitCodes.unreachable;
  return questions.has(command) ? exitCodes.usage : exitCodes.failed;
}
