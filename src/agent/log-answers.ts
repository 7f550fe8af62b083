import type { Clock } from '../base/clock.ts';
import { isMesoliteError, messageOf } from '../base/errors.ts';
import { type LogPiece, LogReader } from '../device/log-reader.ts';
import { type LogKeeper, maxTailBytes, splitForWire } from '../device/task-log.ts';
import type { Ask } from '../model/message.ts';
import { outputBounds, wireChunkBytes } from '../model/output.ts';
import type { OutputStreams } from './output-streams.ts';
import type { Sender } from './sender.ts';
import type { TaskDirectories } from './task-directories.ts';

type LogAsk = Extract<Ask, { what: 'log' }>;

/** How often an output that is followed is looked at, */
const lookEveryMs = 250;
/** what all that are followed together may say meanwhile, in bytes (128 KiB a second), */
const bytesEachLook = 32 * 1024;
/** and what of one may wait for that; older bytes are left out. */
const maxBehindBytes = 256 * 1024;

export interface LogAnswersParts {
  readonly sender: Sender;
  readonly directories: TaskDirectories;
  readonly logKeeper: Pick<LogKeeper, 'historyOf'>;
  readonly streams: OutputStreams;
  readonly clock: Clock;
  /** Is the task here and has not ended, so that it may write more? */
  readonly isLive: (task: string) => boolean;
}

/** Answers who asks for the end of a task's output, and goes on while it is followed. */
export async function answerLog(parts: LogAnswersParts, ask: LogAsk): Promise<void> {
  const { id, task, stream } = ask;
  try {
    await (ask.follow === true ? follow(parts, ask) : tell(parts, ask));
  } catch (error) {
    const code = isMesoliteError(error) ? error.code : 'NOT_FOUND';
    parts.sender.send('log', { id, task, stream, data: '', end: true, code, error: messageOf(error).slice(0, 512) });
  }
}

async function tell(parts: LogAnswersParts, { id, task, stream, tailBytes }: LogAsk): Promise<void> {
  const { reader } = await openReader(parts, { task, stream, tailBytes });
  // no more, though the task may write faster than this reads
  for (let left = Math.min(tailBytes, maxTailBytes); left > 0; ) {
    const piece = await readOn(parts.directories, task, directory => reader.read(directory, left));
    if (piece === undefined) break;
    left -= piece.bytes;
    for (const data of splitForWire(piece.text, wireChunkBytes)) {
      parts.sender.send('log', { id, task, stream, data, at: piece.at, end: false });
    }
  }
  parts.sender.send('log', { id, task, stream, data: '', end: true });
}

async function openReader(
  { sender, directories, logKeeper }: LogAnswersParts,
  { task, stream, tailBytes }: Pick<LogAsk, 'task' | 'stream' | 'tailBytes'>,
): Promise<{ readonly reader: LogReader; readonly end: number }> {
  for (;;) {
    const directory = await directories.findOutput(task);
    if (directory === undefined) throw new Error(`node ${sender.node} has no output of task ${task} any more`);
    const reader = new LogReader(stream, logKeeper.historyOf(directory, stream));
    const end = await reader.seek(directory, Math.min(tailBytes, maxTailBytes));
    if ((await directories.findOutput(task)) === directory) return { reader, end };
  }
}

/** What comes next in the output, wherever it is: the end of a task moves it, and what was not found there is looked for again. */
async function readOn(
  directories: TaskDirectories,
  task: string,
  read: (directory: string) => Promise<LogPiece | undefined>,
): Promise<LogPiece | undefined> {
  for (;;) {
    const directory = await directories.findOutput(task);
    const piece = await read(directory ?? '');
    if (piece !== undefined || (await directories.findOutput(task)) === directory) return piece;
  }
}

/** First what is there, then what is new; the last piece comes when the task has ended and all of it is said. */
async function follow(parts: LogAnswersParts, ask: LogAsk): Promise<void> {
  const { directories, streams, clock, isLive } = parts;
  const { id, task, stream } = ask;
  const { reader, end } = await openReader(parts, ask);
  const way = streams.open(id);
  const empty = { task, stream, data: '', end: false };
  let isBacklog = true;
  try {
    do {
      // looked at first: what it wrote before it ended is there afterwards
      const mayGrow = isLive(task);
      const isAllSaid = await sayWhatIsNew();
      if (isAllSaid && !mayGrow) {
        way.say({ ...empty, end: true });
        return;
      }
      if (way.silentMs >= outputBounds.renewMs) way.say(empty);
    } while (await clock.sleep(lookEveryMs, way.signal));
  } finally {
    way.close();
  }

  /** Up to this output's share; false when there is more. */
  async function sayWhatIsNew(): Promise<boolean> {
    for (let left = Math.floor(bytesEachLook / streams.size); left > 0 && way.hasRoom; ) {
      const piece = await readOn(directories, task, directory => reader.read(directory, left, maxBehindBytes));
      if (piece !== undefined) {
        left -= piece.bytes;
        sayPiece(piece);
      }
      if (isBacklog && (piece === undefined || reader.position >= end)) {
        isBacklog = false;
        way.say(empty);
      }
      if (piece === undefined) return true;
    }
    return false;
  }

  function sayPiece({ text, at, skipped }: LogPiece): void {
    const texts = text === '' && skipped > 0 ? [''] : splitForWire(text, wireChunkBytes);
    for (const [i, data] of texts.entries()) {
      const backlog = isBacklog && { backlog: true };
      way.say({ task, stream, data, at, end: false, ...backlog, ...(i === 0 && skipped > 0 && { skipped }) });
    }
  }
}
