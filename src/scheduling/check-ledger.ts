import { shortages, subtractResources } from '../model/resources.ts';
import { addScalars, addsUp, clampAtZero, type Scalars, sameResources, sumOf } from './amounts.ts';
import type { Entry, Ledger, NodeAccount } from './ledger.ts';
import { entriesOf, lookUp, type ShardedMap } from './sharded-map.ts';

/**
 * The ledger's invariant, reckoned anew from its tasks: nothing over-committed, nothing leaked, nothing held twice. One
 * sentence a fault; empty when it holds. A node that shrank below its allocations is no fault as long as it says so.
 */
export function checkLedger(ledger: Ledger): string[] {
  const faults: string[] = [];
  let total: Scalars = {};
  for (const [node, account] of entriesOf(ledger.nodes)) {
    total = addScalars(total, account.total.scalars);
    for (const fault of checkAccount(account)) faults.push(`node ${node}: ${fault}`);
  }
  if (!sameScalars(total, ledger.total)) faults.push('the total is not the sum of the nodes');
  const roles = new Map<string, Scalars>();
  for (const what of ['tasks', 'offers'] as const) {
    faults.push(...checkEntries(ledger, what));
    sumByRole(ledger, what, roles);
  }
  const named = new Set([...roles.keys(), ...ledger.roles.keys()]);
  for (const role of named) {
    const account = ledger.roles.get(role)?.scalars ?? {};
    if (!sameScalars(roles.get(role) ?? {}, account)) faults.push(`role ${role} holds something else than its account`);
  }
  return faults;
}

type Held = 'tasks' | 'offers';

/** What is entered holds resources on that node, and what holds resources is entered. */
function checkEntries(ledger: Ledger, what: Held): string[] {
  const faults: string[] = [];
  const entries: ShardedMap<Entry> = ledger[what];
  let held = 0;
  for (const [node, account] of entriesOf(ledger.nodes)) {
    held += account[what].size;
    for (const id of account[what].keys()) {
      if (lookUp(entries, id)?.node === node) continue;
      faults.push(`node ${node}: ${what === 'tasks' ? 'task' : 'offer'} ${id} is not entered for it`);
    }
  }
  if (held !== entries.size) faults.push(`${entries.size} ${what} are entered, ${held} hold resources`);
  return faults;
}

function sumByRole(ledger: Ledger, what: Held, roles: Map<string, Scalars>): void {
  for (const [id, { node, role }] of entriesOf(ledger[what])) {
    const held = lookUp(ledger.nodes, node)?.[what].get(id);
    if (held !== undefined) roles.set(role, addScalars(roles.get(role) ?? {}, held.scalars));
  }
}

function sameScalars(a: Scalars, b: Scalars): boolean {
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].every(name => (a[name] ?? 0) === (b[name] ?? 0));
}

function checkAccount({ total, allocated, offered, free, overdrawn, tasks, offers }: NodeAccount): string[] {
  const faults: string[] = [];
  const held = [...tasks.values()];
  const promised = [...offers.values()];
  if (!sameResources(sumOf(promised), offered)) faults.push('its offers hold something else than what is offered');
  if (!overdrawn && promised.length > 0 && shortages(total, sumOf([allocated, offered])).length > 0) {
    faults.push('more is offered than there is');
  }
  if (!sameResources(sumOf(held), allocated)) faults.push('its tasks hold something else than what is allocated');
  if (!addsUp([...held, ...promised])) faults.push('two tasks hold the same port or device');
  const left = subtractResources(subtractResources(total, allocated), offered);
  if (!sameResources(clampAtZero(left), free)) faults.push('free is not what is left');
  const over = shortages(total, allocated);
  if (over.length > 0 && !overdrawn) faults.push(`over-committed: ${over.join('; ')}`);
  if (over.length === 0 && overdrawn) faults.push('called overdrawn, and is not');
  return faults;
}
