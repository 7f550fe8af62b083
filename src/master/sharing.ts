import type { Random } from '../base/random.ts';
import { nodePorts, type Resources } from '../model/resources.ts';
import { defaultRole } from '../model/role.ts';
import { allocate, type Claimant } from '../scheduling/allocator.ts';
import type { RolePolicies } from '../scheduling/fairness.ts';
import { unmetConstraints, unmetNeeds } from '../scheduling/feasible.ts';
import type { Ledger, LedgerEvent } from '../scheduling/ledger.ts';
import type { PendingTask } from '../scheduling/pending.ts';
import type { SchedulingNode } from '../scheduling/roster.ts';

/** Who places tasks by answering offers, as the frameworks of Mesos' API; it shares with the built-in scheduler by the allocator. */
export interface OfferTaker {
  claimants(): readonly OfferClaimant[];
  /** These are in the ledger, to be ended there (`OfferEnded`) by whoever answers. */
  onOffers(offers: readonly MadeOffer[]): void;
  onRescinded(offers: readonly string[]): void;
}

export interface OfferClaimant extends Claimant {
  readonly framework: string;
}

export interface MadeOffer {
  readonly id: string;
  readonly claimant: OfferClaimant;
  readonly node: SchedulingNode;
  readonly resources: Resources;
}

/** Shares free resources between those who answer offers and the built-in scheduler. */
export interface Sharing {
  add(taker: OfferTaker): void;
  /** Makes offers to those who want some; the nodes that are left to the built-in scheduler, undefined for all. */
  share(nodes: readonly SchedulingNode[], pending: readonly PendingTask[]): ReadonlySet<string> | undefined;
  rescind(offers: readonly string[]): void;
}

export function makeSharing(parts: {
  readonly ledger: () => Ledger;
  readonly change: (events: readonly LedgerEvent[]) => void;
  readonly policies: () => RolePolicies;
  readonly dice: Random;
  readonly newId: () => string;
}): Sharing {
  const { ledger, change, policies, dice, newId } = parts;
  const takers: OfferTaker[] = [];

  function share(nodes: readonly SchedulingNode[], pending: readonly PendingTask[]): ReadonlySet<string> | undefined {
    const wanting = takers.flatMap(taker => taker.claimants().map(claimant => ({ ...claimant, taker })));
    if (wanting.length === 0) return undefined;
    const own = ownClaimants(pending);
    const claimants: readonly (Claimant | (OfferClaimant & { taker: OfferTaker }))[] = [...own, ...wanting];
    const grants = allocate({ ledger: ledger(), nodes, claimants, policies: policies(), dice });
    const made = new Map<OfferTaker, MadeOffer[]>();
    for (const { claimant, node, resources } of grants) {
      if (!('taker' in claimant)) continue;
      const offers = made.get(claimant.taker) ?? [];
      offers.push({ id: newId(), claimant, node, resources: withoutNodePorts(resources) });
      made.set(claimant.taker, offers);
    }
    for (const [taker, offers] of made) {
      change(
        offers.map(({ id: offer, claimant: { role }, node, resources }) => ({
          type: 'OfferMade',
          offer,
          node: node.id,
          role,
          resources,
        })),
      );
      taker.onOffers(offers);
    }
    return new Set(grants.flatMap(({ claimant, node }) => ('taker' in claimant ? [] : [node.id])));
  }

  return {
    add: taker => void takers.push(taker),
    share,
    rescind(offers) {
      for (const taker of takers) taker.onRescinded(offers);
    },
  };
}

/** So many kinds of waiting tasks are looked at when a node is to be granted. */
const maxKinds = 64;

/** The built-in scheduler asks for each role that it has waiting tasks of. */
function ownClaimants(pending: readonly PendingTask[]): Claimant[] {
  const kinds = new Map<string, Map<string, PendingTask>>();
  for (const task of pending) {
    const { role = defaultRole, needs, portCount, nodePorts, constraints } = task;
    const ofRole = kinds.get(role) ?? new Map<string, PendingTask>();
    if (ofRole.size < maxKinds) ofRole.set(JSON.stringify([needs, portCount, nodePorts, constraints]), task);
    kinds.set(role, ofRole);
  }
  return [...kinds].map(([role, tasks]) => ({
    role,
    name: 'built-in',
    wants: ({ attributes }, free) =>
      [...tasks.values()].some(
        task =>
          unmetConstraints(task.constraints, attributes).length === 0 &&
          unmetNeeds(task, { total: free, free }).length === 0,
      ),
  }));
}

/** Ports that the proxy may publish on are in no offer: jobs ask for them by number. */
export function withoutNodePorts({ scalars, ranges, sets }: Resources): Resources {
  const { [nodePorts]: _, ...others } = ranges;
  return { scalars, ranges: others, sets };
}
