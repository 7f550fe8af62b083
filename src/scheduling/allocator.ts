import type { Random } from '../base/random.ts';
import { printScalar, type Resources } from '../model/resources.ts';
import { isNothing, type Scalars } from './amounts.ts';
import { type Claim, type FairShares, makeFairShares, type RolePolicies } from './fairness.ts';
import { accountOf, type Ledger } from './ledger.ts';
import type { SchedulingNode } from './roster.ts';
import { entriesOf } from './sharded-map.ts';

/** Somebody to whom free resources may go: a framework for one of its roles, or the built-in scheduler for one of a job's. */
export interface Claimant extends Claim {
  /** Would it take them now? No while it is suppressed, has all that it waits for, or has filtered out such an offer. */
  wants(node: SchedulingNode, resources: Resources): boolean;
}

/** All that one node has free, for one claimant. */
export interface Grant<C extends Claimant> {
  readonly claimant: C;
  readonly node: SchedulingNode;
  readonly resources: Resources;
}

/**
 * One pass as Mesos' hierarchical allocator makes it: in a random order each node goes whole to the claimant whose role has the
 * smallest share (inside a role the one that has been granted least) and who wants it. What quotas forbid is not granted.
 */
export function allocate<C extends Claimant>(input: {
  readonly ledger: Ledger;
  readonly nodes: readonly SchedulingNode[];
  readonly claimants: readonly C[];
  readonly policies: RolePolicies;
  readonly dice: Random;
}): Grant<C>[] {
  const { ledger, claimants, dice } = input;
  const shares = sharesOf(ledger, input.policies);
  const grants: Grant<C>[] = [];
  const granted = new Map<C, number>();
  const candidates = input.nodes.filter(node => node.unavailable === undefined);
  for (const node of shuffled(candidates, dice)) {
    const resources = accountOf(ledger, node.id)?.free;
    if (resources === undefined || isNothing(resources)) continue;
    const wanting = claimants.filter(
      claimant => claimant.wants(node, resources) && shares.whyNot(claimant.role, resources.scalars) === undefined,
    );
    const first = shares.first(wanting);
    const ofRole = wanting.filter(({ role }) => role === first?.role);
    const least = Math.min(...ofRole.map(each => granted.get(each) ?? 0));
    const claimant = ofRole.find(each => (granted.get(each) ?? 0) === least);
    if (claimant === undefined) continue;
    granted.set(claimant, least + 1);
    shares.grant(claimant.role, resources.scalars);
    grants.push({ claimant, node, resources });
  }
  return grants;
}

/** The shares of all roles as the ledger has them. */
export function sharesOf(ledger: Ledger, policies: RolePolicies): FairShares {
  const free: Scalars = policies.size === 0 ? {} : freeScalars(ledger);
  return makeFairShares({ policies, held: ledger.roles, total: ledger.total, free, print: printScalar });
}

function freeScalars(ledger: Ledger): Scalars {
  const sum: Record<string, number> = {};
  for (const [, { free }] of entriesOf(ledger.nodes)) {
    for (const [name, amount] of Object.entries(free.scalars)) sum[name] = (sum[name] ?? 0) + amount;
  }
  return sum;
}

function shuffled<T>(items: readonly T[], dice: Random): T[] {
  const list = [...items];
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(dice() * (i + 1));
    const [a, b] = [list[i], list[j]];
    if (a === undefined || b === undefined) continue;
    list[i] = b;
    list[j] = a;
  }
  return list;
}
