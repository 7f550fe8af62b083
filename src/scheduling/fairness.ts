import { withAncestors } from '../model/role.ts';
import { addScalars, type Scalars } from './amounts.ts';
import type { RoleAccount } from './ledger.ts';

/** What an operator says of a role, amounts in milli-units. */
export interface RolePolicy {
  readonly weight: number;
  readonly guarantees: Scalars;
  readonly limits: Scalars;
}

/** By role; one that is not there has weight 1 and no quota. */
export type RolePolicies = ReadonlyMap<string, RolePolicy>;

/** Who may have the next piece, as `FairShares.first` chooses among. */
export interface Claim {
  readonly role: string;
  /** Breaks ties inside a role, as the name of a framework. */
  readonly name: string;
}

/**
 * Dominant resource fairness as Mesos' sorter has it (`DRFSorter::calculateShare`): the share of a role is the largest part that it
 * holds of any scalar, by its weight; roles are a tree, siblings compare with what all below them hold, and a role that is above
 * others competes with them for what is its own.
 */
export interface FairShares {
  /** The one that is served next: the smallest share at each level, then the fewest pieces held, then by name. */
  first<C extends Claim>(claims: readonly C[]): C | undefined;
  /** It was given something. */
  grant(role: string, scalars: Scalars): void;
  /** Why it may not have it, or undefined when it may. */
  whyNot(role: string, need: Scalars): string | undefined;
  /** Would all roles keep what is guaranteed to them if these were taken from them? */
  mayLose(losses: readonly { readonly role: string; readonly scalars: Scalars }[]): boolean;
  /** The dominant share of a role with all below it, by its weight. */
  shareOf(role: string): number;
}

interface Held {
  scalars: Scalars;
  count: number;
}

export function makeFairShares(input: {
  readonly policies: RolePolicies;
  readonly held: ReadonlyMap<string, RoleAccount>;
  /** Of all nodes, and what is free of that for anybody. */
  readonly total: Scalars;
  readonly free: Scalars;
  readonly print: (name: string, milli: number) => string;
}): FairShares {
  const { policies, total, print } = input;
  let free = input.free;
  /** By role with all below it; `eng/.` is what `eng` holds itself. */
  const held = new Map<string, Held>();
  const entriesOf = new Map<string, readonly string[]>();

  function add(role: string, scalars: Scalars, count: number): void {
    const entries = entriesOf.get(role) ?? [`${role}/.`, ...withAncestors(role)];
    entriesOf.set(role, entries);
    for (const each of entries) {
      const before = held.get(each) ?? { scalars: {}, count: 0 };
      held.set(each, { scalars: addScalars(before.scalars, scalars), count: before.count + count });
    }
  }
  for (const [role, account] of input.held) add(role, account.scalars, account.count);

  const weightOf = (role: string) => policies.get(role)?.weight ?? 1;

  function shareOf(role: string): number {
    let share = 0;
    for (const [name, amount] of Object.entries(held.get(role)?.scalars ?? {})) {
      const all = total[name] ?? 0;
      if (all > 0) share = Math.max(share, amount / all);
    }
    return share / weightOf(role);
  }

  function compare(a: string, b: string): number {
    return (
      shareOf(a) - shareOf(b) || (held.get(a)?.count ?? 0) - (held.get(b)?.count ?? 0) || (a < b ? -1 : Number(a > b))
    );
  }

  /** Of the claims below `path`, which all share its first levels. */
  function descend<C extends Claim>(claims: readonly C[], depth: number): C | undefined {
    const branches = new Map<string, C[]>();
    for (const claim of claims) {
      const parts = claim.role.split('/');
      const branch = parts.length > depth ? parts.slice(0, depth + 1).join('/') : `${claim.role}/.`;
      branches.set(branch, [...(branches.get(branch) ?? []), claim]);
    }
    const [first] = [...branches.keys()].sort(compare);
    const below = first === undefined ? [] : (branches.get(first) ?? []);
    if (first?.endsWith('/.') === true) return below.reduce<C | undefined>(firstByName, undefined);
    return first === undefined ? undefined : descend(below, depth + 1);
  }

  const lackOf = (role: string) => lack(policies.get(role)?.guarantees ?? {}, held.get(role)?.scalars ?? {});

  /** What is still to be kept free for guarantees of `roles`. */
  function keptFor(roles: readonly string[]): Scalars {
    return roles.reduce((sum, role) => addScalars(sum, lackOf(role)), {} as Scalars);
  }

  return {
    first: claims => descend(claims, 0),
    grant(role, scalars) {
      add(role, scalars, 1);
      if (policies.size === 0) return;
      const left: Record<string, number> = { ...free };
      for (const [name, amount] of Object.entries(scalars)) left[name] = (left[name] ?? 0) - amount;
      free = left;
    },
    whyNot(role, need) {
      if (policies.size === 0) return undefined;
      for (const each of withAncestors(role)) {
        const limits = policies.get(each)?.limits ?? {};
        for (const [name, limit] of Object.entries(limits)) {
          const has = held.get(each)?.scalars[name] ?? 0;
          if (has + (need[name] ?? 0) > limit && (need[name] ?? 0) > 0) {
            return `role ${each} may hold ${print(name, limit)} and holds ${print(name, has)}`;
          }
        }
      }
      const family = new Set(withAncestors(role));
      const others = guaranteedRoles(policies).filter(other => !family.has(other));
      const kept = keptFor(others);
      for (const [name, amount] of Object.entries(need)) {
        if (amount <= 0 || (kept[name] ?? 0) === 0) continue;
        const own = withAncestors(role).reduce((most, each) => Math.max(most, lackOf(each)[name] ?? 0), 0);
        // what was promised to it comes before what is kept for others
        if (amount <= own || (free[name] ?? 0) - amount >= (kept[name] ?? 0)) continue;
        const whose = others.filter(other => (lackOf(other)[name] ?? 0) > 0).sort();
        return `${print(name, kept[name] ?? 0)} of what is free are guaranteed to ${printSome(whose)}`;
      }
      return undefined;
    },
    mayLose(losses) {
      for (const [role, { guarantees }] of policies) {
        const lost = losses
          .filter(loss => withAncestors(loss.role).includes(role))
          .reduce((sum, loss) => addScalars(sum, loss.scalars), {} as Scalars);
        for (const [name, amount] of Object.entries(guarantees)) {
          const loss = lost[name] ?? 0;
          if (loss > 0 && (held.get(role)?.scalars[name] ?? 0) - loss < amount) return false;
        }
      }
      return true;
    },
    shareOf,
  };
}

/** Roles whose guarantees count: what a role is to have is part of what those above it are to have. */
export function guaranteedRoles(policies: RolePolicies): string[] {
  return [...policies.keys()].filter(role =>
    withAncestors(role)
      .slice(1)
      .every(above => Object.keys(policies.get(above)?.guarantees ?? {}).length === 0),
  );
}

/** The first three by name. */
function printSome(roles: readonly string[]): string {
  const more = roles.length > 3 ? ` and ${roles.length - 3} more` : '';
  return `${roles.slice(0, 3).join(', ')}${more}`;
}

function firstByName<C extends Claim>(best: C | undefined, claim: C): C {
  return best === undefined || claim.name < best.name ? claim : best;
}

function lack(guarantees: Scalars, held: Scalars): Scalars {
  const missing: Record<string, number> = {};
  for (const [name, amount] of Object.entries(guarantees)) {
    const less = amount - (held[name] ?? 0);
    if (less > 0) missing[name] = less;
  }
  return missing;
}
