import * as v from 'valibot';
import { type Clock, dayMs, minuteMs, secondMs } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { decodeJson } from '../base/shape.ts';
import { aborted } from '../base/signal.ts';
import type { Files } from '../device/files.ts';
import { encodeMessage } from '../model/message.ts';

/** No clock that is right shows less: the year in which this was written. */
export const releasedAt = Date.UTC(2026, 0, 1);

export const clockBounds = {
  /** A system clock that is so close to the master's is left as it is. */
  slackMs: 30 * secondMs,
  /** A question for the time is put anew then, and an answer that comes later counts for nothing. */
  answerWithinMs: minuteMs,
  /** On a board without a clock of its own the floor is written so often, elsewhere at the start and at the end alone. */
  keepEveryMs: dayMs,
} as const;

/**
 * The system's clock, put right by the master's word. Three things are known of the time: what the system says; a floor, which was
 * reached for certain (the release, the last time seen, what a signed message says) and rises with the monotonic clock; and the
 * master's answer to a question of this process. `now` is never before the floor; the answer corrects a system that differs.
 */
export interface NodeClock extends Clock {
  /** May `now` be believed: the master has told the time, or the system's is not before the floor. */
  readonly known: boolean;
  /** What is added to the system's time; 0 for one that is close enough. */
  readonly offsetMs: number;
  /**
   * By which the master's own word is judged. A clock that was set while this process runs is in doubt until the master has answered,
   * and its answer must not be refused for that: until then it is the time of the last answer, carried on.
   */
  nowForMaster(): number;
  /** Calls `task` when the system's clock was set or the machine has slept: then it is time to ask. */
  onDoubt(task: () => void): void;
  /** The nonce of the open question for the time; undefined when none is needed. */
  readonly question: string | undefined;
  /** Asks anew, whatever is known: the link has come up. */
  ask(): void;
  /** The master's time in an answer to `nonce`; one that is late or to another question is passed over. */
  answer(nonce: string, time: number): void;
  /** The master's time in an answer that is known to be fresh. */
  setTime(time: number): void;
  /** The master said at some time that it was `time`: it is later now. */
  atLeast(time: number): void;
  /** Keeps the floor on the disk, again each day unless the time goes on here without power, and once more when `signal` aborts. */
  run(hasOwnClock: boolean, signal: AbortSignal): Promise<void>;
}

const fileName = 'clock';
const storedSchema = v.object({ seen: v.pipe(v.number(), v.safeInteger()) });

/** Opens the clock with the floor of the disk; a floor that cannot be read is as none. */
export async function openNodeClock(parts: {
  readonly system: Clock;
  readonly files: Files;
  readonly log: Log;
  /** Makes what nobody can guess. */
  readonly newId: () => string;
}): Promise<NodeClock> {
  const { system, files, log, newId } = parts;
  let floor = { at: await readFloor(files, log), since: system.monotonic() };
  let offset = 0;
  let isTold = false;
  let asked: { readonly nonce: string; readonly at: number } | undefined;
  let isAsking = true;
  let tellDoubt: () => void = () => {};
  /** Of the system's two clocks; it changes when one sets the clock, and when the machine sleeps. */
  let difference = system.now() - system.monotonic();

  const lowest = () => floor.at + system.monotonic() - floor.since;

  /** A system clock that was set is believed again, down to the floor, until the master says otherwise. */
  function look(): void {
    const now = system.now() - system.monotonic();
    if (Math.abs(now - difference) <= clockBounds.slackMs) return;
    log.warn('the clock of the system was set, or the machine slept', { byMs: Math.round(now - difference) });
    difference = now;
    offset = 0;
    isAsking = true;
    tellDoubt();
  }

  function now(): number {
    look();
    return Math.max(system.now() + offset, lowest());
  }

  function setTime(time: number): void {
    look();
    if (time < releasedAt) {
      log.warn('the clock of the master is wrong, and does not count', { time: new Date(time).toISOString() });
      return;
    }
    const error = time - system.now();
    const next = Math.abs(error) <= clockBounds.slackMs ? 0 : error;
    if (Math.abs(next - offset) > clockBounds.slackMs) {
      log.warn("the system's clock is wrong; the master's time counts", { offsetMs: Math.round(next) });
    }
    offset = next;
    floor = { at: time, since: system.monotonic() };
    isTold = true;
    isAsking = false;
  }

  async function keep(): Promise<void> {
    await files.write(fileName, encodeMessage({ seen: Math.floor(lowest()) })).catch(error => {
      log.warn('the time could not be written', { reason: messageOf(error) });
    });
  }

  return {
    now,
    nowForMaster() {
      look();
      return isTold && isAsking ? lowest() : now();
    },
    onDoubt(task) {
      tellDoubt = task;
    },
    monotonic: () => system.monotonic(),
    after: (delayMs, task) => system.after(delayMs, task),
    sleep: (delayMs, signal, as) => system.sleep(delayMs, signal, as),
    get known() {
      look();
      return isTold || system.now() >= lowest() - clockBounds.slackMs;
    },
    get offsetMs() {
      const by = now() - system.now();
      return Math.abs(by) <= clockBounds.slackMs ? 0 : Math.round(by);
    },
    get question() {
      look();
      if (!isAsking) return undefined;
      const isLate = asked !== undefined && system.monotonic() - asked.at > clockBounds.answerWithinMs;
      if (asked === undefined || isLate) asked = { nonce: newId(), at: system.monotonic() };
      return asked.nonce;
    },
    ask() {
      isAsking = true;
      asked = undefined;
    },
    answer(nonce, time) {
      if (asked?.nonce !== nonce || system.monotonic() - asked.at > clockBounds.answerWithinMs) return;
      asked = undefined;
      setTime(time);
    },
    setTime,
    atLeast(time) {
      if (time > lowest()) floor = { at: time, since: system.monotonic() };
    },
    async run(hasOwnClock, signal) {
      await keep();
      if (hasOwnClock) await aborted(signal);
      else while (await system.sleep(clockBounds.keepEveryMs, signal, 'loop')) await keep();
      await keep();
    },
  };
}

async function readFloor(files: Files, log: Log): Promise<number> {
  try {
    const stored = await files.read(fileName);
    if (stored === undefined) return releasedAt;
    return Math.max(releasedAt, decodeJson(storedSchema, stored.value, fileName).seen);
  } catch (error) {
    log.warn('the last time seen cannot be read', { reason: messageOf(error) });
    return releasedAt;
  }
}
