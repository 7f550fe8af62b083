import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';
import { secondMs } from '../../base/clock.ts';
import type { OutputFrame } from '../../model/output.ts';
import { endOf } from '../output-streams.ts';
import { signalOf } from './request-signal.ts';

export const frameBounds = {
  /** What a caller has not taken; frames beyond it are left out, and it is told how many bytes those were. */
  waitingBytes: 256 * 1024,
  /** An empty line tells both sides that the connection lives. */
  emptyEveryMs: 10 * secondMs,
} as const;

/**
 * Answers with a line of JSON for each frame. What `run` throws before its first frame becomes an answer like any other; after it, the
 * last line. A frame has been taken when its promise resolves; who does not wait for that loses what is not taken.
 */
export async function streamFrames(
  reply: FastifyReply,
  run: (onFrame: (frame: OutputFrame) => Promise<void>, signal: AbortSignal) => Promise<void>,
): Promise<FastifyReply> {
  const { raw } = reply;
  let skipped = 0;
  let timer: NodeJS.Timeout | undefined;
  const write = (frame: OutputFrame): void => void raw.write(`${JSON.stringify(frame)}\n`);
  const begin = (): void => {
    reply.hijack();
    raw.on('error', () => {});
    raw.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
    timer = setInterval(write, frameBounds.emptyEveryMs, {});
  };
  const onFrame = async ({ data = '', skipped: before = 0, ...frame }: OutputFrame): Promise<void> => {
    if (timer === undefined) begin();
    skipped += before;
    if (raw.writableLength > frameBounds.waitingBytes) skipped += Buffer.byteLength(data);
    else {
      write({ ...frame, data, ...(skipped > 0 && { skipped }) });
      skipped = 0;
    }
    if (raw.writableNeedDrain) await drained(raw);
  };
  try {
    await run(onFrame, signalOf(reply));
  } catch (error) {
    if (timer === undefined) throw error;
    write({ error: endOf(error) });
  } finally {
    clearInterval(timer);
  }
  if (timer === undefined) begin();
  clearInterval(timer);
  raw.end();
  return reply;
}

/** Or closed. */
function drained(raw: ServerResponse): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      raw.off('drain', done).off('close', done);
      resolve();
    };
    raw.on('drain', done).on('close', done);
    if (raw.destroyed) done();
  });
}
