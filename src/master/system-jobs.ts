import { type Clock, secondMs } from '../base/clock.ts';
import { attributesOf, type FleetNode } from './fleet.ts';
import type { Jobs } from './jobs.ts';

/** Has system jobs looked at again when nodes come or are another: of many that come at once, once. */
export interface SystemJobs {
  onNode(node: FleetNode): void;
}

const gatherMs = secondMs;

export function makeSystemJobs(parts: {
  readonly jobs: Pick<Jobs, 'spread'>;
  readonly clock: Clock;
  readonly onChanged: () => void;
  readonly inBackground: (what: string, work: Promise<unknown>) => void;
}): SystemJobs {
  const { jobs, clock, onChanged, inBackground } = parts;
  const known = new Map<string, string>();
  let isWaiting = false;

  return {
    onNode(node) {
      const seen = `${node.birth !== null} ${node.state === 'quarantined'} ${JSON.stringify(attributesOf(node))}`;
      if (known.get(node.id) === seen) return;
      known.set(node.id, seen);
      if (isWaiting) return;
      isWaiting = true;
      clock.after(gatherMs, () => {
        isWaiting = false;
        inBackground('spreading system jobs', jobs.spread().then(onChanged));
      });
    },
  };
}
