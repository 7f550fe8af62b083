import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import type { Clock } from '../base/clock.ts';
import { isMesoliteError, MesoliteError, messageOf } from '../base/errors.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import { type RunningCommand, startCommand } from '../device/exec.ts';
import type { Lowered, Privileges } from '../device/privileges.ts';
import { splitForWire } from '../device/task-log.ts';
import type { AccessRecord } from '../model/access.ts';
import type { Ask } from '../model/message.ts';
import { type OutputStreamName, outputBounds, wireChunkBytes } from '../model/output.ts';
import type { TaskSpec } from '../model/task.ts';
import type { OutputStream, OutputStreams } from './output-streams.ts';
import type { Sender } from './sender.ts';

type ExecAsk = Extract<Ask, { what: 'exec' }>;

export const execBounds = {
  /** Of both streams together. */
  outputBytes: 16 * 1024 * 1024,
  /** What all commands of a node may say a second, and at once. */
  rate: { perSecond: 256 * 1024, burst: 512 * 1024 },
} as const;

const waitMs = 100;
const lookMs = 1_000;

export interface ExecAnswersParts {
  readonly sender: Sender;
  readonly streams: OutputStreams;
  readonly clock: Clock;
  /** Has whoever started this agent allowed it? */
  readonly isAllowed: boolean;
  /** A task that is here and has not ended. */
  readonly find: (task: string) => TaskSpec | undefined;
  readonly principalOf: (spec: TaskSpec) => string;
  /** It gets no more rights than its task. */
  readonly lower: Privileges['lower'];
  readonly environmentOf: (spec: TaskSpec, owner?: Lowered['owner']) => Readonly<Record<string, string>>;
  readonly sandboxOf: (task: string) => string;
  /** The cgroup of its task, if it has one: what the command takes is the task's. */
  readonly groupOf: (task: string) => string | undefined;
  readonly record: (record: AccessRecord) => void;
}

/** Runs commands next to tasks for operators; each is in the audit before it begins, and so is each that was refused. */
export interface ExecAnswers {
  answer(ask: ExecAsk): Promise<void>;
}

export function makeExecAnswers(parts: ExecAnswersParts): ExecAnswers {
  const { sender, streams, clock, isAllowed, find } = parts;
  const bucket = new TokenBucket(execBounds.rate, clock.monotonic());

  /** What it needs to run; whatever keeps it from that is in the audit. */
  async function admit(ask: ExecAsk): Promise<{ spec: TaskSpec; as: Lowered; way: OutputStream }> {
    const spec = find(ask.task);
    try {
      const { node } = sender;
      if (!isAllowed)
        throw new MesoliteError('FORBIDDEN', `node ${node} runs no commands: its agent has no --allow-exec`);
      if (spec === undefined) throw new MesoliteError('CONFLICT', `task ${ask.task} does not run on node ${node}`);
      const as = await parts.lower(spec.user, spec.capabilities ?? []);
      if ('why' in as) throw new MesoliteError('FORBIDDEN', as.why);
      return { spec, as, way: streams.open(ask.id) };
    } catch (error) {
      parts.record(recordOf(ask, clock.now(), spec && parts.principalOf(spec), messageOf(error)));
      throw error;
    }
  }

  async function run(ask: ExecAsk): Promise<void> {
    const { spec, as, way } = await admit(ask);
    try {
      parts.record(recordOf(ask, clock.now(), parts.principalOf(spec)));
      const { command, stdin } = ask;
      const running = await startCommand({
        command: [...as.prefix, ...command],
        env: parts.environmentOf(spec, as.owner),
        cwd: parts.sandboxOf(spec.id),
        group: parts.groupOf(spec.id),
        stdin,
      });
      await attend(way, running, ask);
    } finally {
      way.close();
    }
  }

  /** Hands on what it writes until it has ended; throws what ends it before. */
  async function attend(way: OutputStream, running: RunningCommand, { task, timeoutMs }: ExecAsk): Promise<void> {
    const over = new AbortController();
    let failure: MesoliteError | undefined;
    let left = execBounds.outputBytes;
    const end = (error: MesoliteError): void => {
      failure ??= error;
      running.kill();
    };
    const empty = { task, stream: 'stdout', data: '', end: false } as const;
    way.say(empty);
    const cancelTimeout = clock.after(timeoutMs, () =>
      end(new MesoliteError('TIMED_OUT', `it was ended after ${timeoutMs / 1000} s`)),
    );
    way.signal.addEventListener('abort', running.kill, { once: true });

    async function pump(stream: OutputStreamName, from: Readable): Promise<void> {
      const decoder = new StringDecoder('utf8');
      for await (const chunk of from) {
        const bytes = Buffer.from(chunk);
        left -= bytes.length;
        if (left < 0) {
          end(new MesoliteError('TOO_LARGE', `it wrote more than ${execBounds.outputBytes} bytes`));
          return;
        }
        while (!bucket.take(bytes.length, clock.monotonic()) && (await clock.sleep(waitMs, way.signal)));
        for (const data of splitForWire(decoder.write(bytes), wireChunkBytes)) {
          if (!(await way.untilRoom())) return;
          way.say({ ...empty, stream, data });
        }
      }
    }
    async function sayThatItRuns(): Promise<void> {
      while (await clock.sleep(lookMs, over.signal)) if (way.silentMs >= outputBounds.renewMs) way.say(empty);
    }
    const telling = sayThatItRuns();
    try {
      const pumped = Promise.allSettled([pump('stdout', running.stdout), pump('stderr', running.stderr)]);
      const exit = await running.exited;
      await pumped;
      if (failure !== undefined) throw failure;
      way.say({ ...empty, end: true, exit });
    } finally {
      cancelTimeout();
      over.abort();
      await telling;
    }
  }

  return {
    async answer(ask) {
      try {
        await run(ask);
      } catch (error) {
        const { id, task } = ask;
        const code = isMesoliteError(error) ? error.code : 'INTERNAL';
        const said = { id, task, stream: 'stdout', data: '', end: true } as const;
        sender.send('log', { ...said, code, error: messageOf(error).slice(0, 512) });
      }
    },
  };
}

/** Who, on which task, and what; not the arguments, which may be secrets. */
function recordOf({ id, task, by, command }: ExecAsk, now: number, destination = '-', refused?: string): AccessRecord {
  const more = command.length - 1;
  return {
    at: now,
    direction: 'exec',
    source: `operator/${by}`,
    destination,
    sourceIp: '-',
    task,
    method: 'EXEC',
    host: '',
    path: `${command[0]}${more === 0 ? '' : ` and ${more} ${more === 1 ? 'argument' : 'arguments'}`}`.slice(0, 2048),
    verdict: refused === undefined ? 'allow' : 'deny',
    rule: refused ?? '--allow-exec',
    // always in the audit, whatever share of what goes well is
    audited: 'exec',
    status: 0,
    bytesReceived: 0,
    bytesSent: 0,
    durationMs: 0,
    requestId: id,
    flags: '-',
  };
}
