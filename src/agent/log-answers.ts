import { messageOf } from '../base/errors.ts';
import { readLogTail, splitForWire } from '../device/task-log.ts';
import type { Ask } from '../model/message.ts';
import type { Sender } from './sender.ts';
import type { TaskDirectories } from './task-directories.ts';

type LogAsk = Extract<Ask, { what: 'log' }>;

/** A piece of output in one message, in bytes of JSON. */
const maxChunkBytes = 48 * 1024;

/** Answers who asks for the end of a task's output. */
export async function answerLog(
  { sender, directories }: { readonly sender: Sender; readonly directories: TaskDirectories },
  { id, task, stream, tailBytes }: LogAsk,
): Promise<void> {
  const say = (data: string, end: boolean, error?: string) =>
    sender.send('log', { id, task, stream, data, end, ...(error !== undefined && { error }) });
  try {
    const directory = await directories.findOutput(task);
    if (directory === undefined) return say('', true, `node ${sender.node} has no output of task ${task} any more`);
    for (const piece of splitForWire(await readLogTail(directory, stream, tailBytes), maxChunkBytes)) say(piece, false);
    say('', true);
  } catch (error) {
    say('', true, messageOf(error).slice(0, 512));
  }
}
