import { MesoliteError } from '../base/errors.ts';
import { decodeDocument, describeDocument, type OperatorDocument, type RoleDocument } from '../model/document.ts';
import { printScalar, toMilli } from '../model/resources.ts';
import type { Scalars } from '../scheduling/amounts.ts';
import type { RolePolicies, RolePolicy } from '../scheduling/fairness.ts';
import type { Store } from '../store/store.ts';

/** What operators say of roles: weights and quotas, as the scheduler reads them. */
export interface Roles {
  /** Reads them anew. */
  load(): Promise<void>;
  policies(): RolePolicies;
}

export function makeRoles({ store }: { readonly store: Pick<Store, 'documents'> }): Roles {
  let policies: RolePolicies = new Map();
  return {
    async load() {
      const documents = (await store.documents.list('Role')).map(row => decodeDocument(JSON.parse(row.json), row.name));
      policies = new Map(documents.filter(isRole).map(document => [roleOf(document), policyOf(document)]));
    },
    policies: () => policies,
  };
}

/** Throws INVALID_INPUT for what no allocator could keep to; `stored` are those that are there already. */
export function checkRoles(sent: readonly OperatorDocument[], stored: readonly OperatorDocument[]): void {
  const roles = sent.filter(isRole);
  const replaced = new Set(roles.map(describeDocument));
  const others = stored.filter(isRole).filter(document => !replaced.has(describeDocument(document)));
  const owners = new Map(others.map(document => [roleOf(document), describeDocument(document)]));
  for (const document of roles) {
    const name = describeDocument(document);
    const owner = owners.get(roleOf(document));
    if (document.metadata.namespace !== 'default')
      refuse(name, 'metadata.namespace', 'expected none, as roles have none');
    if (owner !== undefined) refuse(name, 'spec.role', `${owner} is about ${roleOf(document)} already`);
    owners.set(roleOf(document), name);
    const { guarantees, limits } = policyOf(document);
    for (const [resource, amount] of Object.entries(guarantees)) {
      const limit = limits[resource] ?? Number.POSITIVE_INFINITY;
      if (amount > limit) {
        const most = printScalar(resource, limit);
        refuse(name, `spec.quota.guarantees.${resource}`, `expected at most the limit, ${most}`);
      }
    }
  }
}

function refuse(document: string, path: string, why: string): never {
  throw new MesoliteError('INVALID_INPUT', `${document}: ${path}: ${why}`);
}

function isRole(document: OperatorDocument): document is RoleDocument {
  return document.kind === 'Role';
}

function roleOf({ spec, metadata }: RoleDocument): string {
  return spec.role ?? metadata.name;
}

function policyOf({ spec: { weight, quota } }: RoleDocument): RolePolicy {
  return { weight, guarantees: toScalars(quota.guarantees), limits: toScalars(quota.limits) };
}

function toScalars(amounts: Readonly<Record<string, number>>): Scalars {
  return Object.fromEntries(Object.entries(amounts).map(([name, amount]) => [name, toMilli(amount)]));
}
