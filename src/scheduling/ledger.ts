import { addResources, noResources, type Resources, shortages, subtractResources } from '../model/resources.ts';
import { addsUp, clampAtZero, isWhole } from './amounts.ts';
import { type Draft, draftOf, emptyMap, lookUp, type ShardedMap } from './sharded-map.ts';

/** What one node has and who holds it. */
export interface NodeAccount {
  readonly total: Resources;
  /** The sum of what its tasks hold. */
  readonly allocated: Resources;
  /** What is left for new tasks, never below zero. */
  readonly free: Resources;
  /** Its tasks hold more than it has, since it came back smaller: nothing of what is short is free until enough have ended. */
  readonly overdrawn: boolean;
  readonly tasks: ReadonlyMap<string, Resources>;
}

/** Who has what, as one immutable value; `tasks` tells the node of each task. Changed only by `applyEvents`. */
export interface Ledger {
  readonly nodes: ShardedMap<NodeAccount>;
  readonly tasks: ShardedMap<string>;
}

/** A fact that changes who has what. */
export type LedgerEvent =
  /** A node is there, or is there again with other totals; its tasks stay. */
  | { readonly type: 'NodeRegistered'; readonly node: string; readonly total: Resources }
  /** A node is gone for good, and its tasks with it. */
  | { readonly type: 'NodeRemoved'; readonly node: string }
  /** A task is given resources, which must be free. */
  | { readonly type: 'TaskPlaced'; readonly task: string; readonly node: string; readonly resources: Resources }
  /** A task was found to hold resources (after a restart of the master): counted whether or not the node still has room. */
  | { readonly type: 'TaskRecovered'; readonly task: string; readonly node: string; readonly resources: Resources }
  | { readonly type: 'TaskEnded'; readonly task: string };

/** An event that does not fit the ledger, and why; it changed nothing. */
export interface Refusal {
  readonly event: LedgerEvent;
  readonly why: string;
}

export interface Applied {
  readonly ledger: Ledger;
  readonly refused: readonly Refusal[];
}

export const emptyLedger: Ledger = { nodes: emptyMap(), tasks: emptyMap() };

interface Account {
  total: Resources;
  allocated: Resources;
  free: Resources;
  overdrawn: boolean;
  readonly tasks: Map<string, Resources>;
}

interface Batch {
  readonly nodes: Draft<NodeAccount>;
  readonly tasks: Draft<string>;
  /** Accounts that this batch changes, copied once. */
  readonly touched: Map<string, Account>;
}

/** Applies events in order, each by itself: one that does not fit is refused with a sentence and the others stand. */
export function applyEvents(ledger: Ledger, events: readonly LedgerEvent[]): Applied {
  const batch: Batch = { nodes: draftOf(ledger.nodes), tasks: draftOf(ledger.tasks), touched: new Map() };
  const refused: Refusal[] = [];
  for (const event of events) {
    const why = applyEvent(batch, event);
    if (why !== undefined) refused.push({ event, why });
  }
  for (const [node, account] of batch.touched) batch.nodes.set(node, account);
  return { ledger: { nodes: batch.nodes.finish(), tasks: batch.tasks.finish() }, refused };
}

/** What `node` has left for new tasks, never below zero; undefined for a node that is not registered. */
export function freeOf(ledger: Ledger, node: string): Resources | undefined {
  return lookUp(ledger.nodes, node)?.free;
}

/** What the tasks on `node` hold; undefined for a node that is not registered. */
export function allocatedOf(ledger: Ledger, node: string): Resources | undefined {
  return lookUp(ledger.nodes, node)?.allocated;
}

export function accountOf(ledger: Ledger, node: string): NodeAccount | undefined {
  return lookUp(ledger.nodes, node);
}

/** The node that holds `task`. */
export function nodeOf(ledger: Ledger, task: string): string | undefined {
  return lookUp(ledger.tasks, task);
}

/** Why the event cannot be, or undefined when it is done. */
function applyEvent(batch: Batch, event: LedgerEvent): string | undefined {
  switch (event.type) {
    case 'NodeRegistered':
      return register(batch, event.node, event.total);
    case 'NodeRemoved':
      return remove(batch, event.node);
    case 'TaskPlaced':
      return hold(batch, event, false);
    case 'TaskRecovered':
      return hold(batch, event, true);
    case 'TaskEnded':
      return end(batch, event.task);
    default:
      return event satisfies never;
  }
}

function register(batch: Batch, node: string, total: Resources): string | undefined {
  if (!isWhole(total)) return `node ${node}: expected whole amounts of 0 or more`;
  const account = open(batch, node) ?? makeAccount(batch, node);
  account.total = total;
  balance(account, true);
  return undefined;
}

function remove(batch: Batch, node: string): string | undefined {
  const account = batch.touched.get(node) ?? batch.nodes.get(node);
  if (account === undefined) return `node ${node} is not registered`;
  for (const task of account.tasks.keys()) batch.tasks.delete(task);
  batch.touched.delete(node);
  batch.nodes.delete(node);
  return undefined;
}

function hold(
  batch: Batch,
  { task, node, resources }: { readonly task: string; readonly node: string; readonly resources: Resources },
  mayOverdraw: boolean,
): string | undefined {
  const holder = batch.tasks.get(task);
  if (holder !== undefined) return `task ${task} is on node ${holder} already`;
  if (!isWhole(resources)) return `task ${task}: expected whole amounts of 0 or more`;
  const account = open(batch, node);
  if (account === undefined) return `node ${node} is not registered`;
  const why = mayOverdraw ? whyHeldTwice(account, resources) : whyNoRoom(account, resources);
  if (why !== undefined) return `task ${task} on node ${node}: ${why}`;
  account.tasks.set(task, resources);
  account.allocated = addResources(account.allocated, resources);
  balance(account, mayOverdraw);
  batch.tasks.set(task, node);
  return undefined;
}

function end(batch: Batch, task: string): string | undefined {
  const node = batch.tasks.get(task);
  const account = node === undefined ? undefined : open(batch, node);
  const resources = account?.tasks.get(task);
  if (account === undefined || resources === undefined) return `task ${task} holds nothing`;
  account.tasks.delete(task);
  account.allocated = subtractResources(account.allocated, resources);
  balance(account, false);
  batch.tasks.delete(task);
  return undefined;
}

function whyNoRoom(account: Account, resources: Resources): string | undefined {
  const missing = shortages(account.free, resources);
  return missing.length === 0 ? undefined : missing.join('; ');
}

/** Amounts may exceed a node that shrank, but two tasks never hold the same port or device. */
function whyHeldTwice(account: Account, resources: Resources): string | undefined {
  return addsUp([account.allocated, resources]) ? undefined : 'another task holds one of its ports or devices';
}

/** `overdrawn` is only ever set where that is allowed, so that `checkLedger` finds what was placed beyond the total. */
function balance(account: Account, mayOverdraw: boolean): void {
  const { total, allocated } = account;
  account.free = clampAtZero(subtractResources(total, allocated));
  account.overdrawn = (mayOverdraw || account.overdrawn) && shortages(total, allocated).length > 0;
}

function open(batch: Batch, node: string): Account | undefined {
  const opened = batch.touched.get(node);
  if (opened !== undefined) return opened;
  const account = batch.nodes.get(node);
  if (account === undefined) return undefined;
  const copy = { ...account, tasks: new Map(account.tasks) };
  batch.touched.set(node, copy);
  return copy;
}

function makeAccount(batch: Batch, node: string): Account {
  const account = { total: noResources, allocated: noResources, free: noResources, overdrawn: false, tasks: new Map() };
  batch.touched.set(node, account);
  return account;
}
