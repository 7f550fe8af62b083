import { type Clock, minuteMs, secondMs } from '../base/clock.ts';
import type { Log } from '../base/log.ts';

export const renewalBounds = {
  /** A node chooses a moment within this: so much for each of those that are asked together, so that a fleet does not come as one. */
  perNodeMs: secondMs / 4,
  leastMs: 2 * secondMs,
  mostMs: 10 * minuteMs,
  /** One that was asked is asked again so long after its moment is over at the latest. */
  againMs: minuteMs,
} as const;

/**
 * The way of a fleet from the certificates of an authority that issues no more to those of the next: nodes are asked to renew at once, and
 * need not wait for two thirds of a life. One that is away is asked when it is back.
 */
export interface Renewals {
  /** Another authority issues: who has what from the others is looked up anew. */
  begin(): void;
  /** Asks who is left and was not asked of late. */
  tend(): Promise<void>;
  /** Nodes with a certificate that they use, by an authority that issues no more. */
  left(): Promise<readonly string[]>;
}

export function makeRenewals(parts: {
  /** Nodes with certificates by authorities that issue no more. */
  readonly holders: () => Promise<readonly string[]>;
  /** Nodes that are ready. */
  readonly nodes: () => readonly string[];
  readonly ask: (node: string, withinMs: number) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}): Renewals {
  const { holders, nodes, ask, clock, log } = parts;
  /** When each may be asked again, on the monotonic clock. */
  const askAgainAt = new Map<string, number>();
  let isDone = false;

  return {
    begin() {
      isDone = false;
      askAgainAt.clear();
    },
    async tend() {
      if (isDone) return;
      const left = new Set(await holders());
      isDone = left.size === 0;
      for (const node of askAgainAt.keys()) if (!left.has(node)) askAgainAt.delete(node);
      const now = clock.monotonic();
      const due = nodes().filter(node => left.has(node) && (askAgainAt.get(node) ?? 0) <= now);
      if (due.length === 0) return;
      const { perNodeMs, leastMs, mostMs, againMs } = renewalBounds;
      const withinMs = Math.min(mostMs, Math.max(leastMs, due.length * perNodeMs));
      log.info('nodes are asked to renew their certificates', { nodes: due.length, left: left.size, withinMs });
      for (const node of due) {
        askAgainAt.set(node, now + withinMs + againMs);
        await ask(node, withinMs);
      }
    },
    left: holders,
  };
}
