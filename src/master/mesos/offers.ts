import type { Clock } from '../../base/clock.ts';
import { hasCapability, rolesOf } from '../../model/framework.ts';
import { type Resources, shortages } from '../../model/resources.ts';
import { taskSlots } from '../../model/task-slots.ts';
import type { LedgerEvent } from '../../scheduling/ledger.ts';
import type { FleetNode } from '../fleet.ts';
import type { MadeOffer, OfferTaker } from '../sharing.ts';
import { mesosTimes } from './bounds.ts';
import type { Framework } from './framework.ts';
import { wantsOffers } from './frameworks.ts';
import { offerable, toMesosResources } from './mesos-resources.ts';

/** An offer that its framework has not answered; the ledger holds what it offers. */
export interface OutstandingOffer {
  readonly id: string;
  readonly framework: Framework;
  readonly role: string;
  readonly node: string;
  readonly resources: Resources;
  /** Of the node, see `taskSlots`; frameworks do not know of them. */
  readonly slots: number;
  /** On the monotonic clock. */
  readonly madeAt: number;
}

/** What the frameworks are offered: each piece to one of them, until it answers or the offer is taken back. */
export interface Offers extends OfferTaker {
  /** Takes offers out to be used; undefined when one of them is not outstanding for `framework`. The ledger still holds them. */
  take(framework: Framework, ids: readonly string[]): readonly OutstandingOffer[] | undefined;
  /** `framework` does not want `left` of these nodes for a while, nor less. */
  refuse(offers: readonly OutstandingOffer[], left: Resources, refuseSeconds: number | undefined): void;
  /** Forgets what was refused for these roles; for all when empty. */
  revive(framework: Framework, roles: readonly string[]): void;
  /** Takes back all offers of a framework that is away, without a word to it. */
  drop(framework: Framework): void;
  /** Takes back all offers of a node. */
  rescindNode(node: string): void;
  of(framework: Framework): readonly OutstandingOffer[];
  /** How many are outstanding, and how often frameworks were asked who wants some. */
  counts(): { readonly outstanding: number; readonly passes: number };
  /** Takes back what was not answered in time; true when something may be offered now that was not before. */
  sweep(): boolean;
}

interface Refusal {
  readonly framework: Framework;
  readonly role: string;
  readonly resources: Resources;
  readonly until: number;
}

/** Less is not worth an offer, as in Mesos: a hundredth of a core, or 32 MB. */
const least = { cpus: 10, mem: 32_000 };

export function makeOffers(parts: {
  readonly fleet: { get(node: string): FleetNode | undefined };
  readonly frameworks: { get(id: string): Framework | undefined; list(): readonly Framework[] };
  /** Changes who has what. */
  readonly change: (events: readonly LedgerEvent[]) => void;
  /** Do tasks of jobs wait for a place? */
  readonly jobsWait: () => boolean;
  readonly clock: Clock;
}): Offers {
  const { fleet, frameworks, change, jobsWait, clock } = parts;
  const outstanding = new Map<string, OutstandingOffer>();
  const refusals = new Map<string, Refusal>();
  let passes = 0;

  const keyOf = (framework: Framework, role: string, node: string) => `${framework.id} ${role} ${node}`;

  function forget(offers: readonly OutstandingOffer[]): void {
    for (const { id } of offers) outstanding.delete(id);
    change(offers.map(({ id: offer }) => ({ type: 'OfferEnded', offer })));
  }

  function tellRescinded({ id, framework }: OutstandingOffer): void {
    framework.stream?.send({ type: 'RESCIND', rescind: { offer_id: { value: id } } });
  }

  function rescind(offers: readonly OutstandingOffer[]): void {
    forget(offers);
    for (const offer of offers) tellRescinded(offer);
  }

  function isRefused(framework: Framework, role: string, node: string, free: Resources): boolean {
    const refusal = refusals.get(keyOf(framework, role, node));
    if (refusal === undefined || refusal.until <= clock.monotonic()) return false;
    // more than what was refused is worth another look
    return shortages(refusal.resources, free).length === 0;
  }

  function enter({ id, claimant, node, resources }: MadeOffer): OutstandingOffer | undefined {
    const framework = frameworks.get(claimant.framework);
    if (framework?.stream === undefined) {
      change([{ type: 'OfferEnded', offer: id }]);
      return undefined;
    }
    const { role } = claimant;
    const slots = resources.scalars[taskSlots] ?? 0;
    const own = { id, framework, role, node: node.id, slots, madeAt: clock.monotonic() };
    const offer = { ...own, resources: offerable(resources) };
    outstanding.set(id, offer);
    return offer;
  }

  return {
    claimants() {
      passes++;
      return frameworks.list().flatMap(framework =>
        rolesOf(framework.info).flatMap(role => {
          if (!wantsOffers(framework, role)) return [];
          const wants = ({ id }: { readonly id: string }, free: Resources) =>
            isWorthIt(free) && !isRefused(framework, role, id, offerable(free));
          return [{ framework: framework.id, role, name: framework.id, wants }];
        }),
      );
    },
    onOffers(offers) {
      const made = new Map<Framework, object[]>();
      for (const each of offers) {
        const offer = enter(each);
        if (offer === undefined) continue;
        const list = made.get(offer.framework) ?? [];
        list.push(toMesosOffer(offer, each, fleet.get(offer.node)));
        made.set(offer.framework, list);
      }
      for (const [{ stream }, list] of made) stream?.send({ type: 'OFFERS', offers: { offers: list } });
    },
    onRescinded(ids) {
      for (const id of ids) {
        const offer = outstanding.get(id);
        outstanding.delete(id);
        if (offer !== undefined) tellRescinded(offer);
      }
    },
    take(framework, ids) {
      const own = ids.map(id => outstanding.get(id)).filter(each => each?.framework === framework);
      const offers = own.flatMap(each => each ?? []);
      if (offers.length !== ids.length || new Set(ids).size !== ids.length) {
        forget(offers);
        return undefined;
      }
      for (const id of ids) outstanding.delete(id);
      return offers;
    },
    refuse(offers, left, refuseSeconds) {
      const ms = refuseSeconds === undefined || refuseSeconds < 0 ? mesosTimes.refuseMs : refuseSeconds * 1_000;
      const until = clock.monotonic() + Math.min(Math.max(ms, mesosTimes.allocationMs), mesosTimes.maxRefuseMs);
      for (const { framework, role, node } of offers) {
        refusals.set(keyOf(framework, role, node), { framework, role, resources: left, until });
      }
    },
    revive(framework, roles) {
      for (const [key, refusal] of refusals) {
        const isNamed = roles.length === 0 || roles.includes(refusal.role);
        if (refusal.framework === framework && isNamed) refusals.delete(key);
      }
    },
    drop(framework) {
      forget([...outstanding.values()].filter(each => each.framework === framework));
      for (const [key, refusal] of refusals) if (refusal.framework === framework) refusals.delete(key);
    },
    rescindNode: node => rescind([...outstanding.values()].filter(each => each.node === node)),
    of: framework => [...outstanding.values()].filter(each => each.framework === framework),
    counts: () => ({ outstanding: outstanding.size, passes }),
    sweep() {
      const now = clock.monotonic();
      const lifeMs = jobsWait() ? mesosTimes.contendedOfferMs : mesosTimes.offerMs;
      const overdue = [...outstanding.values()].filter(({ madeAt }) => now - madeAt >= lifeMs);
      rescind(overdue);
      const over = [...refusals].filter(([, { until }]) => until <= now);
      for (const [key] of over) refusals.delete(key);
      return overdue.length > 0 || over.length > 0;
    },
  };
}

function isWorthIt({ scalars: { cpus = 0, mem = 0, [taskSlots]: slots = 0 } }: Resources): boolean {
  return slots > 0 && (cpus >= least.cpus || mem >= least.mem);
}

/** Mesos' `Offer`. */
function toMesosOffer(
  { id, framework, role, resources }: OutstandingOffer,
  { node }: MadeOffer,
  of?: FleetNode,
): object {
  const isMulti = hasCapability(framework.info, 'MULTI_ROLE');
  const { hostname } = node;
  return {
    id: { value: id },
    framework_id: { value: framework.id },
    agent_id: { value: node.id },
    hostname,
    url: {
      scheme: 'http',
      address: { hostname, ip: of?.birth?.address ?? '', port: of?.birth?.meshPort ?? 0 },
      path: '/agent',
    },
    resources: toMesosResources(resources, '*', isMulti ? role : undefined),
    attributes: Object.entries(node.attributes).map(([name, value]) => ({ name, type: 'TEXT', text: { value } })),
    allocation_info: { role },
  };
}
