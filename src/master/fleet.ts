import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { hintDeath, judgeLease, type Lease, renewLease } from '../lifecycle/liveness.ts';
import type { Ahead } from '../model/ahead.ts';
import type { Stock } from '../model/artifact.ts';
import type { Drain } from '../model/drain.ts';
import type { Birth, Death, Heartbeat } from '../model/message.ts';
import type { Usage } from '../model/profile.ts';
import type { Spent } from '../model/spent.ts';
import type { NodeRecord, Nodes } from '../store/nodes.ts';

/** A node as the master sees it now. */
export interface FleetNode {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly joinedAt: number;
  readonly state: NodeRecord['state'];
  /** Milliseconds since 1970 by the master's clock. */
  readonly lastSeen: number;
  /** Null until the node has introduced itself. */
  readonly birth: Birth | null;
  readonly usage: Usage | null;
  /** What of artifacts it has told to have. */
  readonly stock?: Stock | undefined;
  /** What its agent has told to spend. */
  readonly spent?: Spent | undefined;
  /** Of the newest birth since it joined; 0 before that. */
  readonly boot: number;
  /** Why it is in quarantine, if it is. */
  readonly quarantine: string | null;
  /** When it takes no tasks, if an operator said so. */
  readonly drain?: Drain | null;
  /** What it holds that the database does not know. */
  readonly ahead?: Ahead | null;
}

/** What constraints are about: what the node says of itself, and what operators say of it. */
export function attributesOf({ id, birth, labels }: FleetNode): Readonly<Record<string, string>> {
  return { ...birth?.attributes, ...labels, node: id };
}

/** `back` is a birth or a heartbeat of one that was silent. */
export type FleetChange = 'born' | 'back' | 'unreachable' | 'quarantined';

/** All nodes in memory: births and changes of state reach the disk, heartbeats do not. */
export interface Fleet {
  load(): Promise<void>;
  /** Reads a node that has just joined. */
  add(node: string): Promise<void>;
  /** False, and nothing has changed, when the node is not known or the birth is of an older start of its agent. */
  onBirth(node: string, birth: Birth): Promise<boolean>;
  /** False when the node must introduce itself first. */
  onHeartbeat(node: string, heartbeat: Heartbeat): boolean;
  onDeath(node: string, death: Death): void;
  /** Nothing that it says counts any more, until it has joined with a new key. */
  quarantine(node: string, reason: string): Promise<void>;
  /** Throws NOT_FOUND. */
  drain(node: string, drain: Drain | null): Promise<void>;
  /** One in quarantine is no more of the fleet, until it has joined with a new key. */
  remove(node: string): Promise<void>;
  setAhead(node: string, ahead: Ahead | null): void;
  get(node: string): FleetNode | undefined;
  list(): FleetNode[];
  /** Watches the leases until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
}

/** How often the leases are looked at; a node is found silent at most so much later. */
const sweepEveryMs = 1_000;

interface Entry {
  node: FleetNode;
  lease: Lease | undefined;
}

export function makeFleet(parts: {
  readonly nodes: Nodes;
  readonly clock: Clock;
  readonly log: Log;
  readonly onEvent: (node: string, event: FleetChange) => void;
}): Fleet {
  const { nodes, clock, log, onEvent } = parts;
  const entries = new Map<string, Entry>();
  /** By id; made when it is asked for after one has joined. */
  let inOrder: Entry[] | undefined;

  function enter(record: NodeRecord): void {
    const { id, labels, joinedAt, state, lastSeen, birth, boot, quarantine, drain } = record;
    // A master that starts knows nothing of now: each node that was ready has a whole lease to speak up.
    const lease = birth && state === 'ready' ? renewLease(undefined, birth, clock.monotonic()) : undefined;
    const usage = birth?.usage ?? null;
    const { stock, spent } = birth ?? {};
    const node = { id, labels, joinedAt, state, lastSeen, birth, usage, stock, spent, boot, quarantine, drain };
    entries.set(id, { node, lease });
    inOrder = undefined;
  }

  /** What the disk does not get to know is found out anew by the next master. */
  function setState(entry: Entry, state: 'ready' | 'unreachable'): void {
    const { id, lastSeen } = entry.node;
    entry.node = { ...entry.node, state };
    nodes.update(id, { state, lastSeen }).catch(error => {
      log.error('the state of a node could not be written', { node: id, state, error });
    });
    log.info(state === 'ready' ? 'a node is back' : 'a node is silent', { node: id });
    onEvent(id, state === 'ready' ? 'back' : state);
  }

  function sweep(): void {
    for (const entry of entries.values()) {
      if (entry.lease === undefined || entry.node.state !== 'ready') continue;
      const { state } = judgeLease(entry.lease, clock.monotonic());
      if (state === 'unreachable') setState(entry, state);
    }
  }

  return {
    async load() {
      for (const record of await nodes.list()) enter(record);
    },
    async add(id) {
      const record = await nodes.get(id);
      if (record !== undefined) enter(record);
    },
    async onBirth(id, birth) {
      const entry = entries.get(id);
      if (entry === undefined || entry.node.state === 'quarantined') return false;
      if (birth.boot < (entry.lease?.boot ?? 0)) return false;
      const wasSilent = entry.node.state === 'unreachable';
      const lastSeen = clock.now();
      entry.lease = renewLease(entry.lease, birth, clock.monotonic());
      const { boot, usage, stock, spent } = birth;
      entry.node = { ...entry.node, birth, boot, usage, stock, spent, state: 'ready', lastSeen };
      await nodes.update(id, { birth, state: 'ready', lastSeen });
      log.info('a node introduced itself', { node: id, boot: birth.boot, profile: birth.profile });
      onEvent(id, wasSilent ? 'back' : 'born');
      return true;
    },
    onHeartbeat(id, heartbeat) {
      const entry = entries.get(id);
      if (entry?.lease === undefined || entry.node.birth?.boot !== heartbeat.boot) return false;
      const { boot, everyMs: heartbeatMs = entry.node.birth.heartbeatMs } = heartbeat;
      entry.lease = renewLease(entry.lease, { boot, heartbeatMs }, clock.monotonic());
      const usage = entry.node.usage && updated(entry.node.usage, heartbeat.usage);
      const stock = newer(entry.node.stock, heartbeat.stock);
      const { spent = entry.node.spent } = heartbeat;
      entry.node = { ...entry.node, lastSeen: clock.now(), usage, stock, spent };
      if (entry.node.state !== 'ready') setState(entry, 'ready');
      return true;
    },
    onDeath(id, death) {
      const entry = entries.get(id);
      if (entry?.lease !== undefined) entry.lease = hintDeath(entry.lease, death.boot, clock.monotonic());
    },
    async quarantine(id, reason) {
      const entry = entries.get(id);
      if (entry === undefined) return;
      entry.lease = undefined;
      entry.node = { ...entry.node, state: 'quarantined', quarantine: reason };
      await nodes.update(id, { state: 'quarantined', quarantine: reason });
      onEvent(id, 'quarantined');
    },
    async drain(id, drain) {
      await nodes.update(id, { drain });
      const entry = entries.get(id);
      if (entry !== undefined) entry.node = { ...entry.node, drain };
    },
    async remove(id) {
      await nodes.remove(id);
      // it may have joined meanwhile
      if (entries.get(id)?.node.state === 'quarantined') entries.delete(id);
      inOrder = undefined;
    },
    setAhead(id, ahead) {
      const entry = entries.get(id);
      if (entry !== undefined && (entry.node.ahead ?? null) !== ahead) entry.node = { ...entry.node, ahead };
    },
    get: id => entries.get(id)?.node,
    list() {
      inOrder ??= [...entries.values()].sort((a, b) => (a.node.id < b.node.id ? -1 : 1));
      return inOrder.map(entry => entry.node);
    },
    async run(signal) {
      while (await clock.sleep(sweepEveryMs, signal)) sweep();
    },
  };
}

/** The one that is known where nothing is new: who compares nodes then finds the same. */
function newer(known: Stock | undefined, told: Stock | undefined): Stock | undefined {
  return told === undefined || JSON.stringify(told) === JSON.stringify(known) ? known : told;
}

function updated(usage: Usage, news: Heartbeat['usage']): Usage {
  const known = Object.entries(news).filter(([, value]) => value !== undefined);
  return { ...usage, ...Object.fromEntries(known) };
}
