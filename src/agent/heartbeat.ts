import { type Clock, minuteMs } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Stock } from '../model/artifact.ts';
import type { ProgressReport } from '../model/message.ts';
import type { Usage } from '../model/profile.ts';
import type { Trial } from '../model/rollout.ts';
import type { Spent } from '../model/spent.ts';
import type { Sender, UpBody } from './sender.ts';

/** After so many deltas, and so long, all values are sent once more, in case one was lost. */
const fullEvery = { beats: 30, ms: 15 * minuteMs };

/** Tells the master who this node is on each connection, and how it fares in between: only what changed. */
export interface Heartbeat {
  birth(): Promise<void>;
  /** A heartbeat now: what the node holds has changed. */
  beat(): Promise<void>;
  run(signal: AbortSignal): Promise<void>;
}

export function makeHeartbeat(
  parts: {
    readonly sender: Sender;
    readonly clock: Clock;
    readonly log: Log;
    readonly readUsage: () => Promise<Usage>;
    /** The rest of the birth. */
    readonly describe: () => Promise<Omit<UpBody<'birth'>, 'usage' | 'stock' | 'spent' | 'heartbeatMs'>>;
    readonly heldHash: () => string;
    readonly isUp: () => boolean;
    /** The nonce with which the master is asked for the time, while it is needed. */
    readonly question: () => string | undefined;
    /** What is tried here, and how it goes. */
    readonly trial: () => Trial | undefined;
    /** How far tasks are, as far as that has changed; `all` where it may not have been heard. */
    readonly progress: (all: boolean) => Promise<readonly ProgressReport[]>;
    /** What of artifacts is here, in the same way. */
    readonly stock: (all: boolean) => Promise<Stock | undefined>;
    readonly spent: () => Spent;
  },
  /** How often; what it is at a beat holds until the next one. */
  settings: { readonly intervalMs: () => number },
): Heartbeat {
  const { sender, clock, log, readUsage, describe, heldHash, isUp, question, trial, progress, stock, spent } = parts;
  let said: Usage | undefined;
  let saidHeld: string | undefined;
  let everyMs = settings.intervalMs();
  /** What the last birth has said. */
  let saidMs = everyMs;
  let beats = 0;
  let fullAt = Number.NEGATIVE_INFINITY;

  async function beat(): Promise<void> {
    if (!isUp()) return;
    const usage = await readUsage();
    const now = clock.monotonic();
    const full = said === undefined || (beats % fullEvery.beats === 0 && now - fullAt >= fullEvery.ms);
    beats++;
    if (full) fullAt = now;
    const news = full ? usage : changes(said ?? usage, usage);
    const told = await progress(full);
    const held = heldHash();
    sender.send('hb', {
      ...(full && { full }),
      ...(Object.keys(news).length > 0 && { usage: news }),
      ...((full || held !== saidHeld) && { held }),
      stock: await stock(full),
      nonce: question(),
      trial: trial(),
      ...(full && { spent: spent() }),
      // said each time while it is another one, for a heartbeat may be lost
      ...(everyMs !== saidMs && { everyMs }),
      ...(told.length > 0 && { progress: [...told] }),
    });
    said = { ...(said ?? usage), ...news };
    saidHeld = held;
  }

  return {
    beat,
    async birth() {
      const usage = await readUsage();
      saidMs = everyMs;
      sender.send('birth', {
        ...(await describe()),
        heartbeatMs: everyMs,
        usage,
        stock: await stock(true),
        spent: spent(),
        nonce: question(),
      });
      said = usage;
    },
    async run(signal) {
      while (await clock.sleep(everyMs, signal, 'loop')) {
        everyMs = settings.intervalMs();
        await beat().catch(error => log.warn('a heartbeat could not be made', { reason: messageOf(error) }));
      }
    },
  };
}

/** By so much at the least a value must have moved. */
const least: Partial<Record<keyof Usage, number>> = { cpu: 0.05, load1: 0.5 };
const leastShare = 0.05;
/** It is never at rest, and its use is to tell a crowded node from a free one. */
const leastLoadShare = 0.2;
/** Between hot and too hot there are a few degrees: a share of it would hide the step. */
const leastC = 1;

/** Fields that moved by more than a twentieth of themselves, a load by a fifth, a temperature by a degree; the rest is not worth the bytes until all is said. */
function changes(before: Usage, now: Usage): Partial<Usage> {
  return Object.fromEntries(
    Object.entries(now).filter(([key, value]) => {
      const field = key as keyof Usage;
      const old = before[field];
      if (value === undefined || old === undefined) return value !== undefined;
      if (field === 'temperatureC') return Math.abs(value - old) >= leastC;
      const share = field === 'load1' ? leastLoadShare : leastShare;
      return Math.abs(value - old) > Math.max(least[field] ?? 0.01, Math.abs(old) * share);
    }),
  );
}
