import { addResources, noResources, type Resources, shortages, subtractResources } from '../model/resources.ts';
import { defaultRole } from '../model/role.ts';
import { addScalars, addsUp, clampAtZero, isWhole, type Scalars, subtractScalars } from './amounts.ts';
import { type Draft, draftOf, emptyMap, lookUp, type ShardedMap } from './sharded-map.ts';

/** What one node has and who holds it. */
export interface NodeAccount {
  readonly total: Resources;
  /** The sum of what its tasks hold. */
  readonly allocated: Resources;
  /** The sum of what is offered to frameworks that have not answered yet. */
  readonly offered: Resources;
  /** What is left for new tasks and offers, never below zero. */
  readonly free: Resources;
  /** Its tasks hold more than it has, since it came back smaller: nothing of what is short is free until enough have ended. */
  readonly overdrawn: boolean;
  readonly tasks: ReadonlyMap<string, Resources>;
  readonly offers: ReadonlyMap<string, Resources>;
}

/** Where a task or an offer is entered, and for whom it counts. */
export interface Entry {
  readonly node: string;
  readonly role: string;
}

/** What one role holds: by its tasks, and by offers that its frameworks have not answered. */
export interface RoleAccount {
  readonly scalars: Scalars;
  /** Of tasks and offers. */
  readonly count: number;
}

/** Who has what, as one immutable value. Changed only by `applyEvents`. */
export interface Ledger {
  readonly nodes: ShardedMap<NodeAccount>;
  readonly tasks: ShardedMap<Entry>;
  readonly offers: ShardedMap<Entry>;
  /** Roles that hold anything. */
  readonly roles: ReadonlyMap<string, RoleAccount>;
  /** The sum of what the nodes have. */
  readonly total: Scalars;
}

/** A fact that changes who has what. */
export type LedgerEvent =
  /** A node is there, or is there again with other totals; its tasks stay. */
  | { readonly type: 'NodeRegistered'; readonly node: string; readonly total: Resources }
  /** A node is gone for good, and its tasks with it. */
  | { readonly type: 'NodeRemoved'; readonly node: string }
  /** A task is given resources, which must be free; without a `role` it counts for the default one. */
  | ({ readonly type: 'TaskPlaced'; readonly task: string } & Claim)
  /** A task was found to hold resources (after a restart of the master): counted whether or not the node still has room. */
  | ({ readonly type: 'TaskRecovered'; readonly task: string } & Claim)
  | { readonly type: 'TaskEnded'; readonly task: string }
  /** Free resources are kept for a framework until it has answered. */
  | ({ readonly type: 'OfferMade'; readonly offer: string } & Claim)
  /** An offer was declined, taken back, or answered: all of it is free for the events that follow, as `TaskPlaced` of an answer. */
  | { readonly type: 'OfferEnded'; readonly offer: string };

interface Claim {
  readonly node: string;
  readonly role?: string | undefined;
  readonly resources: Resources;
}

/** An event that does not fit the ledger, and why; it changed nothing. */
export interface Refusal {
  readonly event: LedgerEvent;
  readonly why: string;
}

export interface Applied {
  readonly ledger: Ledger;
  readonly refused: readonly Refusal[];
  /** Offers that ended by themselves, since their node is gone or came back with less than they promise: tell who has them. */
  readonly rescinded: readonly string[];
}

export const emptyLedger: Ledger = {
  nodes: emptyMap(),
  tasks: emptyMap(),
  offers: emptyMap(),
  roles: new Map(),
  total: {},
};

interface Account {
  total: Resources;
  allocated: Resources;
  offered: Resources;
  free: Resources;
  overdrawn: boolean;
  readonly tasks: Map<string, Resources>;
  readonly offers: Map<string, Resources>;
}

interface Batch {
  readonly nodes: Draft<NodeAccount>;
  readonly tasks: Draft<Entry>;
  readonly offers: Draft<Entry>;
  readonly roles: Map<string, RoleAccount>;
  readonly rescinded: string[];
  total: Scalars;
  /** Accounts that this batch changes, copied once. */
  readonly touched: Map<string, Account>;
}

/** Applies events in order, each by itself: one that does not fit is refused with a sentence and the others stand. */
export function applyEvents(ledger: Ledger, events: readonly LedgerEvent[]): Applied {
  const batch: Batch = {
    nodes: draftOf(ledger.nodes),
    tasks: draftOf(ledger.tasks),
    offers: draftOf(ledger.offers),
    roles: new Map(ledger.roles),
    rescinded: [],
    total: ledger.total,
    touched: new Map(),
  };
  const refused: Refusal[] = [];
  for (const event of events) {
    const why = applyEvent(batch, event);
    if (why !== undefined) refused.push({ event, why });
  }
  for (const [node, account] of batch.touched) batch.nodes.set(node, account);
  const { nodes, tasks, offers, roles, total, rescinded } = batch;
  return {
    ledger: { nodes: nodes.finish(), tasks: tasks.finish(), offers: offers.finish(), roles, total },
    refused,
    rescinded,
  };
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
  return lookUp(ledger.tasks, task)?.node;
}

/** Where an offer stands that has not been answered. */
export function offerOf(ledger: Ledger, offer: string): (Entry & { readonly resources: Resources }) | undefined {
  const entry = lookUp(ledger.offers, offer);
  const resources = entry && lookUp(ledger.nodes, entry.node)?.offers.get(offer);
  return entry && resources && { ...entry, resources };
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
    case 'OfferMade':
      return offer(batch, event);
    case 'OfferEnded':
      return endOffer(batch, event.offer) ? undefined : `there is no offer ${event.offer}`;
    default:
      return event satisfies never;
  }
}

function register(batch: Batch, node: string, total: Resources): string | undefined {
  if (!isWhole(total)) return `node ${node}: expected whole amounts of 0 or more`;
  const account = open(batch, node) ?? makeAccount(batch, node);
  batch.total = addScalars(subtractScalars(batch.total, account.total.scalars), total.scalars);
  account.total = total;
  balance(account, true);
  rescindWhatIsShort(batch, account);
  return undefined;
}

function remove(batch: Batch, node: string): string | undefined {
  const account = open(batch, node);
  if (account === undefined) return `node ${node} is not registered`;
  for (const task of [...account.tasks.keys()]) end(batch, task);
  rescindAll(batch, account);
  batch.total = subtractScalars(batch.total, account.total.scalars);
  batch.touched.delete(node);
  batch.nodes.delete(node);
  return undefined;
}

function hold(batch: Batch, event: Claim & { readonly task: string }, mayOverdraw: boolean): string | undefined {
  const { task, node, resources, role = defaultRole } = event;
  const holder = batch.tasks.get(task);
  if (holder !== undefined) return `task ${task} is on node ${holder.node} already`;
  if (!isWhole(resources)) return `task ${task}: expected whole amounts of 0 or more`;
  const account = open(batch, node);
  if (account === undefined) return `node ${node} is not registered`;
  const why = mayOverdraw ? whyHeldTwice(account, resources) : whyNoRoom(account, resources);
  if (why !== undefined) return `task ${task} on node ${node}: ${why}`;
  account.tasks.set(task, resources);
  account.allocated = addResources(account.allocated, resources);
  balance(account, mayOverdraw);
  batch.tasks.set(task, { node, role });
  charge(batch, role, resources.scalars, 1);
  if (mayOverdraw) rescindWhatIsShort(batch, account);
  return undefined;
}

function end(batch: Batch, task: string): string | undefined {
  const entry = batch.tasks.get(task);
  const account = entry === undefined ? undefined : open(batch, entry.node);
  const resources = account?.tasks.get(task);
  if (entry === undefined || account === undefined || resources === undefined) return `task ${task} holds nothing`;
  account.tasks.delete(task);
  account.allocated = subtractResources(account.allocated, resources);
  balance(account, false);
  batch.tasks.delete(task);
  charge(batch, entry.role, resources.scalars, -1);
  return undefined;
}

function offer(batch: Batch, event: Claim & { readonly offer: string }): string | undefined {
  const { offer, node, resources, role = defaultRole } = event;
  if (batch.offers.get(offer) !== undefined) return `there is an offer ${offer} already`;
  if (!isWhole(resources)) return `offer ${offer}: expected whole amounts of 0 or more`;
  const account = open(batch, node);
  if (account === undefined) return `node ${node} is not registered`;
  const why = whyNoRoom(account, resources);
  if (why !== undefined) return `offer ${offer} of node ${node}: ${why}`;
  account.offers.set(offer, resources);
  account.offered = addResources(account.offered, resources);
  balance(account, false);
  batch.offers.set(offer, { node, role });
  charge(batch, role, resources.scalars, 1);
  return undefined;
}

function endOffer(batch: Batch, offer: string): boolean {
  const entry = batch.offers.get(offer);
  const account = entry === undefined ? undefined : open(batch, entry.node);
  const resources = account?.offers.get(offer);
  if (entry === undefined || account === undefined || resources === undefined) return false;
  account.offers.delete(offer);
  account.offered = subtractResources(account.offered, resources);
  balance(account, false);
  batch.offers.delete(offer);
  charge(batch, entry.role, resources.scalars, -1);
  return true;
}

/** A promise that the node cannot keep any more is taken back. */
function rescindWhatIsShort(batch: Batch, account: Account): void {
  const { total, allocated, offered } = account;
  if (account.offers.size === 0) return;
  const isShort = shortages(total, addResources(allocated, offered)).length > 0;
  if (isShort || !addsUp([allocated, offered])) rescindAll(batch, account);
}

function rescindAll(batch: Batch, account: Account): void {
  for (const offer of [...account.offers.keys()]) if (endOffer(batch, offer)) batch.rescinded.push(offer);
}

function charge(batch: Batch, role: string, scalars: Scalars, by: 1 | -1): void {
  const held = batch.roles.get(role) ?? { scalars: {}, count: 0 };
  const count = held.count + by;
  const sum = by === 1 ? addScalars(held.scalars, scalars) : subtractScalars(held.scalars, scalars);
  if (count === 0) batch.roles.delete(role);
  else batch.roles.set(role, { scalars: sum, count });
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
  const { total, allocated, offered } = account;
  account.free = clampAtZero(subtractResources(subtractResources(total, allocated), offered));
  account.overdrawn = (mayOverdraw || account.overdrawn) && shortages(total, allocated).length > 0;
}

function open(batch: Batch, node: string): Account | undefined {
  const opened = batch.touched.get(node);
  if (opened !== undefined) return opened;
  const account = batch.nodes.get(node);
  if (account === undefined) return undefined;
  const copy = { ...account, tasks: new Map(account.tasks), offers: new Map(account.offers) };
  batch.touched.set(node, copy);
  return copy;
}

function makeAccount(batch: Batch, node: string): Account {
  const nothing = { total: noResources, allocated: noResources, offered: noResources, free: noResources };
  const account = { ...nothing, overdrawn: false, tasks: new Map(), offers: new Map() };
  batch.touched.set(node, account);
  return account;
}
