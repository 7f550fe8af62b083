import { MesoliteError } from '../base/errors.ts';
import { decodeDocument, describeDocument, type OperatorDocument, type RoleDocument } from '../model/document.ts';
import { printScalar } from '../model/resources.ts';
import type { Scalars } from '../scheduling/amounts.ts';
import { explainOverpromise } from '../scheduling/analyze.ts';
import type { RolePolicies } from '../scheduling/fairness.ts';
import { overpromises, roleOf, rolePoliciesOf, rolePolicyOf } from '../scheduling/role-policies.ts';
import type { Store } from '../store/store.ts';
import type { Events } from './events.ts';

/** What operators say of roles: weights and quotas, as the scheduler reads them. */
export interface Roles {
  /** Reads them anew. */
  load(): Promise<void>;
  policies(): RolePolicies;
}

export function makeRoles(parts: {
  readonly store: Pick<Store, 'documents'>;
  readonly events: Pick<Events, 'record'>;
  /** Of all nodes. */
  readonly total: () => Scalars;
}): Roles {
  const { store, events, total } = parts;
  let policies: RolePolicies = new Map();
  return {
    async load() {
      const documents = (await store.documents.list('Role')).map(row => decodeDocument(JSON.parse(row.json), row.name));
      policies = rolePoliciesOf(documents.filter(isRole));
      for (const excess of overpromises(policies, total()))
        events.record('guarantees-exceed-fleet', { message: explainOverpromise(excess) });
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
    const { guarantees, limits } = rolePolicyOf(document);
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

/** Is it one about a role? */
export function isRole(document: OperatorDocument): document is RoleDocument {
  return document.kind === 'Role';
}
