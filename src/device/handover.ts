import { type ChildProcess, spawn } from 'node:child_process';
import { Server } from 'node:net';
import { type Clock, minuteMs, secondMs } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import type { GivenSockets } from './given-sockets.ts';

// A process that ends lets another one take over its sockets, so that no connection is refused in between. The two are parent and
// child, since Node passes sockets between those alone; what they say to each other:
//
//   child → parent   ready           loaded; it waits, and has touched nothing
//   parent → child   begin           what the two share (the data directory) is let go
//   child → parent   want <name>     a socket
//   parent → child   socket <name>   and with it the socket, if there is one
//   child → parent   up              the parent may end, when its requests are finished
//   parent → child   record          of such a request, for the child to pass on
//   child → parent   settled         the parent need not wait for its end any more

type Word = 'ready' | 'begin' | 'want' | 'socket' | 'up' | 'record' | 'settled';

interface Message {
  readonly handover: Word;
  readonly name?: string | undefined;
  readonly record?: unknown;
}

/** Tells a process that its parent waits for it to take over. */
const variable = 'MESOLITE_TAKES_OVER';

/** The process before this one, as the one that takes over sees it. */
export interface Predecessor extends GivenSockets {
  /** Says that this process is loaded; resolves when it may begin, rejects when the other one has gone without a word. */
  turn(): Promise<void>;
  /** All is up here: the other process may end. */
  release(): void;
  /** The other process need not watch this one any more. */
  settle(): void;
  /** Calls `listener` with each record that the other process hands on before it ends. */
  onRecord(listener: (record: unknown) => void): void;
}

/** The process that has started this one to be followed by it; undefined when this was an ordinary start. */
export function findPredecessor(program: NodeJS.Process): Predecessor | undefined {
  if (program.env[variable] === undefined || program.send === undefined) return undefined;
  delete program.env[variable];
  const say = (message: Message) => program.send?.(message);
  const hear = (word: Word, name?: string) =>
    new Promise<unknown>((resolve, reject) => {
      const gone = () => reject(new MesoliteError('START_FAILED', 'the process before this one has ended on its own'));
      const listen = (message: unknown, handle: unknown) => {
        if (!isMessage(message) || message.handover !== word || message.name !== name) return;
        program.off('message', listen);
        program.off('disconnect', gone);
        resolve(handle);
      };
      program.on('message', listen);
      program.once('disconnect', gone);
    });
  return {
    async turn() {
      const begin = hear('begin');
      say({ handover: 'ready' });
      await begin;
    },
    async take(name) {
      const given = hear('socket', name);
      say({ handover: 'want', name });
      const socket = await given;
      return socket instanceof Server ? socket : undefined;
    },
    release() {
      say({ handover: 'up' });
      program.channel?.unref();
    },
    settle() {
      // the other process may have been ended meanwhile
      if (program.connected) say({ handover: 'settled' });
    },
    onRecord(listener) {
      program.on('message', (message: unknown) => {
        if (isMessage(message) && message.handover === 'record') listener(message.record);
      });
      // it closes when the other process ends, which it may wait for
      program.channel?.unref();
    },
  };
}

/** The process that shall follow this one, as this one sees it. */
export interface Successor {
  /** Resolves when it is loaded and waits; rejects when it ends instead, or takes too long: then it is ended. */
  ready(): Promise<void>;
  /** Lets it begin and gives it the sockets that it asks for. Resolves when it is up; rejects as `ready`. */
  begin(socketOf: (name: string) => Server | undefined): Promise<void>;
  /** Resolves when it need not be watched any more, or `signal` aborts; rejects as `ready`. */
  settled(withinMs: number, signal: AbortSignal): Promise<void>;
  /** Hands a record on to it, once it is up. */
  record(record: unknown): void;
  /** Resolves when it has all records, and this process may end. */
  leave(): Promise<void>;
}

const readyMs = 30 * secondMs;
const upMs = minuteMs;

/** The program of this process with the same arguments; it may be a newer version by now. `nodeFlags` replace those of their names. */
export function ownProgram(nodeFlags: readonly string[] = []): readonly string[] {
  const nameOf = (flag: string) => flag.split('=', 1)[0];
  const replaced = new Set(nodeFlags.map(nameOf));
  const kept = process.execArgv.filter(flag => !replaced.has(nameOf(flag)));
  return [...kept, ...nodeFlags, ...process.argv.slice(1)];
}

/** Starts what follows this process, beside it: `args` are those of Node. */
export function startSuccessor(
  { clock }: { readonly clock: Clock },
  args = ownProgram(),
  env: NodeJS.ProcessEnv = {},
): Successor {
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, ...env, [variable]: '1' },
  });
  // what it asked for before it failed is answered to nobody
  child.on('error', () => {});
  const ready = untilSaid(child, clock, 'ready', readyMs);
  let sent: Promise<unknown> = Promise.resolve();
  let isSettled = false;
  child.on('message', (message: unknown) => {
    if (isMessage(message) && message.handover === 'settled') isSettled = true;
  });
  return {
    ready: () => ready,
    async begin(socketOf) {
      child.on('message', (message: unknown) => {
        if (!isMessage(message) || message.handover !== 'want') return;
        const { name = '' } = message;
        child.send({ handover: 'socket', name } satisfies Message, socketOf(name));
      });
      const up = untilSaid(child, clock, 'up', upMs);
      child.send({ handover: 'begin' } satisfies Message);
      await up;
      child.unref();
    },
    async settled(withinMs, signal) {
      if (!isSettled) await untilSaid(child, clock, 'settled', withinMs, signal);
    },
    record(record) {
      if (!child.connected) return;
      const taken = new Promise<void>(resolve => {
        child.send({ handover: 'record', record } satisfies Message, () => resolve());
      });
      sent = Promise.all([sent, taken]);
    },
    async leave() {
      await sent;
      if (child.connected) child.disconnect();
    },
  };
}

function untilSaid(
  child: ChildProcess,
  clock: Clock,
  word: Word,
  withinMs: number,
  signal?: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string) => {
      done();
      child.kill('SIGKILL');
      reject(new MesoliteError('START_FAILED', `the process that should take over ${reason}`));
    };
    const listen = (message: unknown) => {
      if (isMessage(message) && message.handover === word) leave();
    };
    const ended = (code: number | null, by: string | null) =>
      fail(`has ended (${by === null ? `exit code ${code}` : by})`);
    const failed = (error: Error) => fail(`cannot be started: ${error.message}`);
    const cancel = clock.after(withinMs, () => fail(`was not ${word} within ${withinMs / secondMs} s`));
    const leave = () => {
      done();
      resolve();
    };
    const done = () => {
      cancel();
      signal?.removeEventListener('abort', leave);
      child.off('message', listen).off('exit', ended).off('error', failed);
    };
    child.on('message', listen).on('exit', ended).on('error', failed);
    signal?.addEventListener('abort', leave, { once: true });
    if (child.exitCode !== null || child.signalCode !== null) ended(child.exitCode, child.signalCode);
  });
}

function isMessage(message: unknown): message is Message {
  return typeof message === 'object' && message !== null && 'handover' in message;
}
