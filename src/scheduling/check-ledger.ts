import { shortages, subtractResources } from '../model/resources.ts';
import { addsUp, clampAtZero, sameResources, sumOf } from './amounts.ts';
import type { Ledger, NodeAccount } from './ledger.ts';
import { entriesOf, lookUp } from './sharded-map.ts';

/**
 * The ledger's invariant, reckoned anew from its tasks: nothing over-committed, nothing leaked, nothing held twice. One
 * sentence a fault; empty when it holds. A node that shrank below its allocations is no fault as long as it says so.
 */
export function checkLedger(ledger: Ledger): string[] {
  const faults: string[] = [];
  let held = 0;
  for (const [node, account] of entriesOf(ledger.nodes)) {
    held += account.tasks.size;
    for (const fault of checkAccount(account)) faults.push(`node ${node}: ${fault}`);
    for (const task of account.tasks.keys()) {
      if (lookUp(ledger.tasks, task) !== node) faults.push(`node ${node}: task ${task} is not entered for it`);
    }
  }
  if (held !== ledger.tasks.size) faults.push(`${ledger.tasks.size} tasks are entered, ${held} hold resources`);
  return faults;
}

function checkAccount({ total, allocated, free, overdrawn, tasks }: NodeAccount): string[] {
  const faults: string[] = [];
  const held = [...tasks.values()];
  if (!sameResources(sumOf(held), allocated)) faults.push('its tasks hold something else than what is allocated');
  if (!addsUp(held)) faults.push('two tasks hold the same port or device');
  if (!sameResources(clampAtZero(subtractResources(total, allocated)), free)) faults.push('free is not what is left');
  const over = shortages(total, allocated);
  if (over.length > 0 && !overdrawn) faults.push(`over-committed: ${over.join('; ')}`);
  if (over.length === 0 && overdrawn) faults.push('called overdrawn, and is not');
  return faults;
}
