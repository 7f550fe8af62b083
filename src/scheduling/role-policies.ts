import type { RoleDocument } from '../model/document.ts';
import { toMilli } from '../model/resources.ts';
import { addScalars, type Scalars } from './amounts.ts';
import { guaranteedRoles, type RolePolicies, type RolePolicy } from './fairness.ts';

/** The role that a document is about. */
export function roleOf({ spec, metadata }: RoleDocument): string {
  return spec.role ?? metadata.name;
}

export function rolePolicyOf({ spec: { weight, quota } }: RoleDocument): RolePolicy {
  return { weight, guarantees: toScalars(quota.guarantees), limits: toScalars(quota.limits) };
}

export function rolePoliciesOf(documents: readonly RoleDocument[]): RolePolicies {
  return new Map(documents.map(document => [roleOf(document), rolePolicyOf(document)]));
}

function toScalars(amounts: Readonly<Record<string, number>>): Scalars {
  return Object.fromEntries(Object.entries(amounts).map(([name, amount]) => [name, toMilli(amount)]));
}

/** More of a resource is guaranteed than there is: nobody else gets any of it. */
export interface Overpromise {
  readonly resource: string;
  readonly guaranteed: number;
  readonly total: number;
}

/** Of a fleet without nodes nothing is said. */
export function overpromises(policies: RolePolicies, total: Scalars): Overpromise[] {
  if (Object.keys(total).length === 0) return [];
  const sum = guaranteedRoles(policies).reduce<Scalars>(
    (all, role) => addScalars(all, policies.get(role)?.guarantees ?? {}),
    {},
  );
  return Object.entries(sum)
    .map(([resource, guaranteed]) => ({ resource, guaranteed, total: total[resource] ?? 0 }))
    .filter(({ guaranteed, total: all }) => guaranteed > all);
}
