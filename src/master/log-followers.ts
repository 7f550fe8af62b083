import { MesoliteError } from '../base/errors.ts';
import { onAbort } from '../base/signal.ts';
import type { LogChunk } from '../model/message.ts';
import type { OutputFrame } from '../model/output.ts';
import type { LogQuery } from './api/face.ts';
import { cutTail, type TimedText } from './log-tail.ts';
import type { OutputStreams } from './output-streams.ts';

/** What is kept of an output for whoever follows it as well, in characters: as much as is asked for at most. */
const keptCharacters = 65_536;
/** Of all outputs together. */
export const maxFollowers = 128;

/** Several who follow the same output share what its node says. */
export interface LogFollowers {
  /** Resolves when the output has ended, or `signal` aborts; throws as `OutputStreams.read`. `onFrame` is first called when the node has answered. */
  follow(node: string, query: LogQuery, onFrame: (frame: OutputFrame) => void, signal: AbortSignal): Promise<void>;
}

interface Shared {
  readonly followers: Set<(piece: LogChunk) => void>;
  readonly kept: TimedText[];
  keptLength: number;
  /** What was there before it was followed has come. */
  hasBegun: boolean;
  readonly leaving: AbortController;
  readonly ended: Promise<void>;
}

export function makeLogFollowers({ streams }: { readonly streams: OutputStreams }): LogFollowers {
  const shared = new Map<string, Shared>();
  let count = 0;

  function open(node: string, { task, stream }: LogQuery, key: string): Shared {
    const leaving = new AbortController();
    const onPiece = (piece: LogChunk): void => {
      keep(one, piece);
      if (piece.backlog === true) return;
      one.hasBegun = true;
      for (const follower of [...one.followers]) follower(piece);
    };
    const ended = streams.read(
      node,
      id => ({ what: 'log', id, task, stream, tailBytes: keptCharacters, follow: true }),
      onPiece,
      leaving.signal,
    );
    const one: Shared = { followers: new Set(), kept: [], keptLength: 0, hasBegun: false, leaving, ended };
    shared.set(key, one);
    const forget = () => {
      if (shared.get(key) === one) shared.delete(key);
    };
    ended.then(forget, forget);
    return one;
  }

  return {
    async follow(node, query, onFrame, signal) {
      if (signal.aborted) return;
      if (count >= maxFollowers) throw new MesoliteError('UNAVAILABLE', 'too many follow outputs already');
      const key = `${node} ${query.task} ${query.stream}`;
      const one = shared.get(key) ?? open(node, query, key);
      const { stream } = query;
      let isCaughtUp = false;
      const follower = (piece: LogChunk): void => {
        if (!isCaughtUp) catchUp();
        else if (piece.data !== '' || piece.skipped !== undefined) {
          onFrame({ stream, data: piece.data, ...(piece.skipped !== undefined && { skipped: piece.skipped }) });
        }
      };
      /** What is kept holds the piece that just came. */
      const catchUp = (): void => {
        isCaughtUp = true;
        onFrame({ stream, data: cutTail(one.kept, query) });
      };
      count++;
      one.followers.add(follower);
      const left = new Promise<void>(resolve => {
        onAbort(signal, resolve);
      });
      try {
        if (one.hasBegun) catchUp();
        await Promise.race([one.ended, left]);
      } finally {
        count--;
        one.followers.delete(follower);
        if (one.followers.size === 0) {
          if (shared.get(key) === one) shared.delete(key);
          one.leaving.abort();
        }
      }
    },
  };
}

function keep(one: Shared, { data, at }: LogChunk): void {
  one.kept.push({ text: data, at });
  one.keptLength += data.length;
  for (let first = one.kept[0]; first !== undefined; first = one.kept[0]) {
    if (one.keptLength - first.text.length < keptCharacters) break;
    one.kept.shift();
    one.keptLength -= first.text.length;
  }
}
