import { type Clock, minuteMs, secondMs } from '../base/clock.ts';
import type { ShadowCount } from '../model/shadow-count.ts';
import type { Sender } from './sender.ts';

/**
 * How often it is looked whether there is something to say, and where there is no such policy; what has not changed is said once a minute,
 * for a master that was started again.
 */
export const shadowReportMs = { every: 5 * secondMs, idle: 10 * secondMs, again: minuteMs } as const;

/** Tells the master what policies that decide nothing would have done; nothing where there are none. */
export interface ShadowReport {
  /** Looks, and says it where there is need. */
  look(): void;
  run(signal: AbortSignal): Promise<void>;
}

export function makeShadowReport(parts: {
  readonly sender: Pick<Sender, 'send'>;
  readonly clock: Clock;
  readonly isUp: () => boolean;
  readonly counts: () => readonly ShadowCount[];
  /** Of the policy document in force. */
  readonly revision: () => number;
}): ShadowReport {
  const { sender, clock, isUp, counts, revision } = parts;
  let said = '[]';
  let saidAt = Number.NEGATIVE_INFINITY;

  function look(): void {
    if (!isUp()) return;
    const now = counts();
    const text = JSON.stringify(now);
    const isOld = now.length > 0 && clock.monotonic() - saidAt >= shadowReportMs.again;
    if (text === said && !isOld) return;
    sender.send('shadow', { revision: revision(), counts: [...now] });
    said = text;
    saidAt = clock.monotonic();
  }

  return {
    look,
    async run(signal) {
      while (await clock.sleep(shadowReportMs[said === '[]' ? 'idle' : 'every'], signal, 'loop')) look();
    },
  };
}
