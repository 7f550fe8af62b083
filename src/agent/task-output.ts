import { join, resolve } from 'node:path';
import type { Log } from '../base/log.ts';
import { startLogGuard } from '../device/log-guard.ts';
import { defaultLogRate, type LogKeeper, makeLogKeeper, maxLogBytes } from '../device/task-log.ts';
import { untilWritten } from '../device/written.ts';
import type { Ask } from '../model/message.ts';
import type { AgentConfig } from './config.ts';
import { type ExecAnswersParts, makeExecAnswers } from './exec-answers.ts';
import type { WearMeter } from './flash-wear.ts';
import { answerLog } from './log-answers.ts';
import { makeOutputStreams, type OutputStreams } from './output-streams.ts';
import type { TaskDirectories } from './task-directories.ts';

/** What tasks say, and commands next to them: kept on the disk within bounds, and told to whoever asks for it. */
export interface TaskOutput {
  readonly logKeeper: LogKeeper;
  /** Of all that is followed. */
  readonly streams: OutputStreams;
  answer(ask: Extract<Ask, { what: 'exec' | 'log' }>): Promise<void>;
}

export async function openTaskOutput(
  parts: Omit<ExecAnswersParts, 'streams' | 'isAllowed'> & {
    readonly log: Log;
    readonly wear: WearMeter;
    readonly directories: TaskDirectories;
  },
  config: Pick<AgentConfig, 'dataDir' | 'taskLogBytesPerSecond' | 'allowExec'>,
  signal: AbortSignal,
): Promise<TaskOutput> {
  const { clock, log, sender, wear, directories, find } = parts;
  const { bytesPerSecond, burstBytes } = defaultLogRate;
  const rate = { bytesPerSecond: config.taskLogBytesPerSecond ?? bytesPerSecond, burstBytes };
  const logKeeper = makeLogKeeper({ clock, log, untilWritten }, { rate, onWritten: wear.for('task-logs') });
  const dataDir = resolve(config.dataDir);
  const guarded = { tasks: join(dataDir, 'tasks'), file: join(dataDir, 'log-guard'), maxBytes: maxLogBytes };
  await startLogGuard({ log }, guarded, signal);
  const streams = makeOutputStreams({ sender, clock }, signal);
  const execs = makeExecAnswers({ ...parts, streams, isAllowed: config.allowExec === true });
  const isLive = (task: string) => find(task) !== undefined;
  return {
    logKeeper,
    streams,
    answer: ask =>
      ask.what === 'exec'
        ? execs.answer(ask)
        : answerLog({ sender, directories, logKeeper, streams, clock, isLive }, ask),
  };
}
