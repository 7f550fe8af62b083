import { type Clock, minuteMs } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Sender, UpBody } from './sender.ts';

export const refusalBounds = {
  /** Reports a minute: a broker that floods a node with what it refuses must not make it flood the master. */
  perMinute: 60,
} as const;

export type Refusal = Omit<UpBody<'ack'>, 'reason'> & { readonly reason: string };

/** Tells the master what this node does not take of what is said in its name, and what does not come: the same thing once a minute. */
export interface Refusals {
  report(refusal: Refusal): void;
}

export function makeRefusals(parts: { readonly sender: Sender; readonly clock: Clock; readonly log: Log }): Refusals {
  const { sender, clock, log } = parts;
  const said = new Set<string>();
  let since = Number.NEGATIVE_INFINITY;

  return {
    report({ kind, subject, revision, reason, withheld = false }) {
      if (clock.monotonic() - since >= minuteMs) {
        said.clear();
        since = clock.monotonic();
      }
      const key = `${kind} ${subject} ${revision} ${withheld}`;
      if (said.has(key) || said.size >= refusalBounds.perMinute) return;
      said.add(key);
      log.warn('what the master should know: a message was refused, or is missing', {
        kind,
        subject,
        revision,
        reason,
      });
      sender.send('ack', { kind, subject, revision, reason: reason.slice(0, 1024), ...(withheld && { withheld }) });
    },
  };
}
