import { homedir } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { MesoliteError } from '../base/errors.ts';
import { systemClock } from '../device/clock.ts';
import { exitCodes } from './exit-codes.ts';

/** What a program gets from where it is started. */
export interface Shell {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly homeDir: string;
  /** Milliseconds since 1970. */
  now(): number;
  /** False when the user wants an end before it is over. */
  sleep(ms: number): Promise<boolean>;
  /** Aborts when the user wants an end (Ctrl-C, SIGTERM). */
  readonly signal: AbortSignal;
}

/** The shell of this process. The first SIGINT or SIGTERM asks for an end; a second one does not wait for it. */
export function processShell(): Shell {
  const controller = new AbortController();
  const stop = () => {
    if (controller.signal.aborted) process.exit(exitCodes.interrupted);
    controller.abort();
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  // `mesolite get tasks | head`: whoever read has seen enough
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? exitCodes.ok : exitCodes.failed);
  });
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    homeDir: homedir(),
    now: Date.now,
    sleep: ms => systemClock.sleep(ms, controller.signal),
    signal: controller.signal,
  };
}

/** A line for the user's eye or the next program in the pipe. */
export function print(shell: Shell, line: string): void {
  shell.stdout.write(`${line}\n`);
}

/** A remark, kept out of what a pipe carries on. */
export function remark(shell: Shell, line: string): void {
  shell.stderr.write(`${line}\n`);
}

/** All of standard input as bytes; throws TOO_LARGE beyond `limitBytes`. */
export async function readStdin({ stdin, signal }: Shell, limitBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  const stop = () => stdin.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const chunk of stdin) {
      const bytes = Buffer.from(chunk);
      size += bytes.length;
      if (size > limitBytes) {
        throw new MesoliteError('TOO_LARGE', `standard input: more than ${limitBytes} bytes, no more are taken`);
      }
      chunks.push(bytes);
    }
  } finally {
    signal.removeEventListener('abort', stop);
  }
  return Buffer.concat(chunks);
}
