import type { Random } from '../../src/base/random.ts';
import type { Offer } from '../../src/model/offer.ts';
import { type Resources, rangesOf, subtractResources, takeFromRanges } from '../../src/model/resources.ts';
import { unmetConstraints, unmetNeeds } from '../../src/scheduling/feasible.ts';
import type { Launch, Scheduler } from '../../src/scheduling/offers.ts';

/** Each task to the first offer that holds it, in the order of priority and arrival. */
export const firstFit: Scheduler = takeOffers('first fit', fitting => fitting[0]);

/** Each task to any offer that holds it. */
export function randomFit(dice: Random): Scheduler {
  return takeOffers('random', fitting => fitting[Math.floor(dice() * fitting.length)]);
}

/** A scheduler that sees nothing but its offers, as a framework outside the master. */
function takeOffers(name: string, pick: (fitting: readonly Offer[]) => Offer | undefined): Scheduler {
  return {
    name,
    place(made, pending) {
      const offers = [...made];
      const left = new Map(offers.map(({ id, resources }) => [id, resources]));
      const launches: Launch[] = [];
      const waiting: string[] = [];
      for (const task of [...pending].sort((a, b) => b.priority - a.priority || a.order - b.order)) {
        const fitting = offers.filter(({ id, attributes }) => {
          const free = left.get(id);
          const fits = free !== undefined && unmetNeeds(task, { total: free, free }).length === 0;
          return fits && unmetConstraints(task.constraints, attributes).length === 0;
        });
        const offer = pick(fitting);
        const free = offer && left.get(offer.id);
        const ports = takeFromRanges(free?.ranges.ports ?? [], task.portCount);
        if (offer === undefined || free === undefined || ports === undefined) {
          waiting.push(task.id);
          continue;
        }
        const resources: Resources = { ...task.needs, ranges: ports.length > 0 ? { ports: rangesOf(ports) } : {} };
        left.set(offer.id, subtractResources(free, resources));
        launches.push({ offer: offer.id, task: task.id, resources, ports, expectedEndAt: null });
      }
      return {
        launches,
        preemptions: [],
        waiting: waiting.map(task => ({ task, why: 'no offer holds it', reasons: [], expected: null })),
      };
    },
  };
}
