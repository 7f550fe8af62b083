import { backoffMs } from '../base/backoff.ts';
import { type Clock, minuteMs, secondMs } from '../base/clock.ts';
import { isMesoliteError, MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { onAbort } from '../base/signal.ts';
import { Slots } from '../base/slots.ts';
import { type ContentStore, hashFile } from '../device/content-store.ts';
import type { Begun, RangeAnswer } from '../link/fetch-range.ts';
import { artifactBounds, nameOfSource, type TaskArtifact } from '../model/artifact.ts';
import type { NodeStock } from './node-stock.ts';

/** Hears how far a fetch is, in a few words. */
export type SayProgress = (message: string) => void;

/** What tasks need, kept by content: one copy for all tasks of the node, and none is fetched twice. */
export interface ArtifactCache {
  /**
   * Where an artifact is that has been read and found to be what its hash says; fetched where it is not here, for as long as it takes.
   * Throws INVALID_INPUT or TOO_LARGE for what can never be, NOT_FOUND or FORBIDDEN for what its server refuses.
   */
  get(artifact: TaskArtifact, say: SayProgress, signal: AbortSignal): Promise<string>;
}

/** Opens a source from where it is begun. */
export type OpenSource = (source: string, begun: Begun, attempt: number, signal: AbortSignal) => Promise<RangeAnswer>;

const maxDownloads = 2;
const retry = { baseMs: 2 * secondMs, maxMs: 5 * minuteMs } as const;
const sayEveryMs = 30 * secondMs;

/** Nobody can mend these by waiting. */
const finalCodes = ['INVALID_INPUT', 'TOO_LARGE', 'NOT_FOUND', 'FORBIDDEN'] as const;

interface Fetching {
  readonly done: Promise<void>;
  readonly hearers: Set<SayProgress>;
  readonly stop: AbortController;
  said: string;
}

export function makeArtifactCache(parts: {
  readonly store: ContentStore;
  /** Hears what comes and goes. */
  readonly stock: Pick<NodeStock, 'onChanged'>;
  readonly open: OpenSource;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}): ArtifactCache {
  const { store, stock, open, clock, random, log } = parts;
  const slots = new Slots(maxDownloads);
  const underWay = new Map<string, Fetching>();
  /** What servers call what was begun; after a restart the hash alone tells whether the pieces are of one file. */
  const etags = new Map<string, string>();

  /** Read whole each time: a card may have lost what was written, or a task may have changed it. */
  async function verified(sha256: string): Promise<string | undefined> {
    if ((await store.find(sha256)) === undefined) return undefined;
    const path = store.pathOf(sha256);
    if ((await hashFile(path)) === sha256) {
      await store.touch(sha256);
      return path;
    }
    log.warn('an artifact on the disk was damaged', { sha256 });
    await store.remove(sha256);
    stock.onChanged();
    return undefined;
  }

  /** Fetches it once, going on where it was broken off. */
  async function download(
    artifact: TaskArtifact,
    attempt: number,
    say: SayProgress,
    signal: AbortSignal,
  ): Promise<void> {
    const { source, sha256 } = artifact;
    const draft = await store.draft(sha256);
    const begunBytes = draft.bytes;
    let came: Parameters<NodeStock['onChanged']>[0];
    try {
      const begun = { bytes: begunBytes, etag: etags.get(sha256) };
      const { from, total, etag, answer } = await open(source, begun, attempt, signal);
      try {
        if (total !== undefined && total > artifactBounds.bytes) {
          throw new MesoliteError('TOO_LARGE', `it has ${total} bytes, and at most ${artifactBounds.bytes} are taken`);
        }
        if (etag === undefined) etags.delete(sha256);
        else etags.set(sha256, etag);
        if (from === 0 && draft.bytes > 0) await draft.clear();
        const begunAt = clock.monotonic();
        let saidAt = begunAt;
        for await (const piece of answer.body()) {
          await draft.append(piece);
          if (clock.monotonic() - saidAt < sayEveryMs) continue;
          saidAt = clock.monotonic();
          say(`fetching ${nameOfSource(source)}: ${progressOf(draft.bytes, total)}`);
        }
        came = { bytes: draft.bytes - from, ms: clock.monotonic() - begunAt };
      } finally {
        answer.close();
      }
      await draft.finish(sha256);
      stock.onChanged(came);
      etags.delete(sha256);
    } catch (error) {
      if (isMesoliteError(error, 'STALE')) await draft.clear();
      if (!isMesoliteError(error, 'INVALID_INPUT') || begunBytes === 0) throw error;
      throw new MesoliteError('UNAVAILABLE', 'what was fetched in pieces does not fit together', { cause: error });
    } finally {
      await draft.close();
    }
  }

  async function fetch(artifact: TaskArtifact, signal: AbortSignal, say: SayProgress): Promise<void> {
    const { source, sha256 } = artifact;
    for (let attempt = 0; ; attempt++) {
      try {
        await slots.run(async () => {
          signal.throwIfAborted();
          say(`fetching ${nameOfSource(source)}`);
          await download(artifact, attempt, say, signal);
        });
        return;
      } catch (error) {
        if (signal.aborted) throw error;
        if (finalCodes.some(code => isMesoliteError(error, code))) {
          await store.removeDraft(sha256);
          // others may have made room for it
          stock.onChanged();
          throw error;
        }
        const message = `cannot fetch ${nameOfSource(source)} and tries on: ${messageOf(error)}`;
        if (attempt === 0)
          log.warn('an artifact cannot be fetched now', {
            source: nameOfSource(source),
            sha256,
            reason: messageOf(error),
          });
        say(message);
        if (!(await clock.sleep(backoffMs(attempt, retry, random), signal))) throw error;
      }
    }
  }

  function begin(artifact: TaskArtifact): Fetching {
    const heard = { hearers: new Set<SayProgress>(), stop: new AbortController(), said: '' };
    const say = (message: string) => {
      if (message === heard.said) return;
      heard.said = message;
      for (const hear of heard.hearers) hear(message);
    };
    const done = fetch(artifact, heard.stop.signal, say).finally(() => underWay.delete(artifact.sha256));
    // whoever waits hears of it
    done.catch(() => {});
    const fetching = Object.assign(heard, { done });
    underWay.set(artifact.sha256, fetching);
    return fetching;
  }

  return {
    async get(artifact, say, signal) {
      const { sha256 } = artifact;
      for (;;) {
        signal.throwIfAborted();
        const path = underWay.has(sha256) ? undefined : await verified(sha256);
        if (path !== undefined) return path;
        const fetching = underWay.get(sha256) ?? begin(artifact);
        if (fetching.stop.signal.aborted) {
          await fetching.done.catch(() => {});
          continue;
        }
        await join(fetching, say, signal);
      }
    },
  };
}

/** Waits with others for what is under way; who is the last to go ends it. */
async function join({ done, hearers, stop, said }: Fetching, say: SayProgress, signal: AbortSignal): Promise<void> {
  hearers.add(say);
  if (said !== '') say(said);
  let forget = () => {};
  const gone = new Promise<never>((_, reject) => {
    forget = onAbort(signal, () => reject(signal.reason));
  });
  try {
    await Promise.race([done, gone]);
  } finally {
    forget();
    hearers.delete(say);
    if (hearers.size === 0) stop.abort();
  }
}

function progressOf(bytes: number, total: number | undefined): string {
  const megabytes = (count: number) => `${(count / 1e6).toFixed(1)} MB`;
  if (total === undefined || total === 0) return megabytes(bytes);
  return `${Math.floor((100 * bytes) / total)} % of ${megabytes(total)}`;
}
