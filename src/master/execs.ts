import type { ExecRequest, OutputFrame } from '../model/output.ts';
import type { Events } from './events.ts';
import type { OutputStreams } from './output-streams.ts';

/** Has commands run next to tasks. */
export interface Execs {
  /** Resolves when it has ended; throws as `OutputStreams.read`, and what its node says against it. A piece counts as taken when `onFrame` has resolved. */
  run(
    node: string,
    request: ExecRequest & { readonly task: string; readonly by: string },
    onFrame: (frame: OutputFrame) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void>;
}

export function makeExecs(parts: { readonly streams: OutputStreams; readonly events: Pick<Events, 'record'> }): Execs {
  const { streams, events } = parts;
  return {
    run(node, { task, by, command, stdin, timeoutMs }, onFrame, signal) {
      // said before it is asked for: whatever becomes of it, it was wanted
      events.record('exec', { node, message: `${by} runs ${JSON.stringify(command[0])} next to ${task}` });
      const ask = (id: string) => ({ what: 'exec', id, task, by, command, stdin, timeoutMs }) as const;
      return streams.read(
        node,
        ask,
        ({ stream, data, exit }) => onFrame({ stream, data, ...(exit !== undefined && { exit }) }),
        signal,
      );
    },
  };
}
