import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import { Gate } from '../../base/gate.ts';
import type { Log } from '../../base/log.ts';
import { type FrameworkInfo, rolesOf } from '../../model/framework.ts';
import type { FrameworkRecord, Frameworks as StoredFrameworks } from '../../store/frameworks.ts';
import { mesosBounds, mesosTimes } from './bounds.ts';
import type { EventStream } from './event-stream.ts';
import type { Framework } from './framework.ts';
import { whyNotRoles } from './roles.ts';

/** Who subscribes, and as what. */
export interface Subscription {
  readonly principal: string;
  /** The roles that its credential may have; all when absent. */
  readonly mayHave?: readonly string[] | undefined;
  readonly info: FrameworkInfo;
  readonly suppressedRoles: readonly string[];
}

/** What others do when a framework comes and goes. */
export interface FrameworkListener {
  onAdded(framework: Framework): void;
  /** It is back, or says other things of itself. */
  onUpdated(framework: Framework): void;
  /** It is away, or another took over for it: no offer of before holds. */
  onDisconnected(framework: Framework): void;
  /** It will not come back: its tasks end. */
  onRemoved(framework: Framework): Promise<void>;
}

/** The frameworks, each by its id over all that happens to its connections and to the master. */
export interface Frameworks {
  load(): Promise<void>;
  /** Enters a framework and answers on `stream`; one that cannot be is told so there, and undefined is returned. */
  subscribe(subscription: Subscription, stream: EventStream): Promise<Framework | undefined>;
  update(framework: Framework, info: FrameworkInfo, suppressedRoles: readonly string[]): Promise<void>;
  /** Its stream has closed. */
  disconnect(framework: Framework, stream: EventStream): void;
  remove(framework: Framework, message: string): Promise<void>;
  get(id: string): Framework | undefined;
  list(): Framework[];
  /** Those that were removed, newest last. */
  removed(): readonly FrameworkRecord[];
  /** Says a heartbeat where it is due, and removes who stayed away for too long. */
  sweep(): void;
}

export function makeFrameworks(parts: {
  readonly store: StoredFrameworks;
  readonly clock: Clock;
  readonly log: Log;
  readonly newId: () => string;
  readonly listener: FrameworkListener;
  /** Mesos' `MasterInfo`. */
  readonly masterInfo: () => object;
  readonly inBackground: (what: string, work: Promise<unknown>) => void;
}): Frameworks {
  const { store, clock, log, newId, listener, masterInfo, inBackground } = parts;
  const present = new Map<string, Framework>();
  const removed = new Map<string, FrameworkRecord>();

  function enter(record: FrameworkRecord): Framework {
    const { id, principal, registeredAt, reregisteredAt, info } = record;
    const framework: Framework = {
      id,
      principal,
      registeredAt,
      reregisteredAt,
      info,
      stream: undefined,
      removeAt: undefined,
      heartbeatAt: 0,
      suppressed: new Set(),
      gate: new Gate(mesosBounds.waitingCalls),
    };
    present.set(id, framework);
    return framework;
  }

  function put({ id, principal, registeredAt, reregisteredAt, info }: Framework): Promise<void> {
    return store.put({ id, principal, registeredAt, reregisteredAt, info, removedAt: null });
  }

  /** Why it may not subscribe, as Mesos would say it. */
  function whyNot({ principal, mayHave, info }: Subscription): string | undefined {
    const id = info.id?.value ?? '';
    const known = present.get(id);
    const why = whyNotRoles(info, mayHave);
    if (why !== undefined) return why;
    if (removed.has(id)) return 'Framework has been removed';
    if (info.principal !== undefined && info.principal !== principal) {
      return `Framework principal '${info.principal}' does not match authenticated principal '${principal}'`;
    }
    if (known !== undefined && known.principal !== principal) {
      return `Framework '${id}' belongs to another principal`;
    }
    if (!/^[A-Za-z0-9._-]*$/.test(id)) return `Framework id '${id}' has a character that is not of A-Z a-z 0-9 . _ -`;
    const isFull = known === undefined && present.size >= mesosBounds.frameworks;
    return isFull ? `There are ${present.size} frameworks, which is the most` : undefined;
  }

  function leave(framework: Framework): void {
    framework.stream = undefined;
    framework.removeAt = clock.monotonic() + framework.info.failover_timeout * 1_000;
    listener.onDisconnected(framework);
  }

  async function remove(framework: Framework, message: string): Promise<void> {
    if (present.get(framework.id) !== framework) return;
    const removedAt = clock.now();
    await store.remove(framework.id, removedAt);
    present.delete(framework.id);
    const { id, principal, registeredAt, reregisteredAt, info } = framework;
    removed.set(id, { id, principal, registeredAt, reregisteredAt, info, removedAt });
    const [oldest] = removed.keys();
    if (removed.size > mesosBounds.removedFrameworks && oldest !== undefined) removed.delete(oldest);
    const { stream } = framework;
    framework.stream = undefined;
    stream?.end();
    listener.onDisconnected(framework);
    log.info('a framework was removed', { framework: id, name: info.name, reason: message });
    await listener.onRemoved(framework);
    await store.trimRemoved(mesosBounds.removedFrameworks);
  }

  return {
    async load() {
      for (const record of await store.list()) {
        if (record.removedAt !== null) removed.set(record.id, record);
        else {
          const framework = enter(record);
          const awayMs = Math.max(framework.info.failover_timeout * 1_000, mesosTimes.returnMs);
          framework.removeAt = clock.monotonic() + awayMs;
        }
      }
    },
    async subscribe(subscription, stream) {
      const why = whyNot(subscription);
      if (why !== undefined) {
        stream.send({ type: 'ERROR', error: { message: why } });
        stream.end();
        return undefined;
      }
      const { principal, suppressedRoles } = subscription;
      const id = subscription.info.id?.value || newId();
      const info = { ...subscription.info, id: { value: id } };
      const now = clock.now();
      const known = present.get(id);
      const framework =
        known ?? enter({ id, principal, registeredAt: now, reregisteredAt: now, info, removedAt: null });
      const old = framework.stream;
      if (old !== undefined) {
        framework.stream = undefined;
        old.send({ type: 'ERROR', error: { message: 'Framework failed over' } });
        old.end();
        listener.onDisconnected(framework);
      }
      framework.info = info;
      framework.reregisteredAt = now;
      framework.stream = stream;
      framework.removeAt = undefined;
      framework.suppressed.clear();
      for (const role of suppressedRoles) framework.suppressed.add(role);
      try {
        await put(framework);
      } catch (error) {
        stream.send({ type: 'ERROR', error: { message: `The master could not remember it: ${messageOf(error)}` } });
        stream.end();
        return undefined;
      }
      // it may have gone, or been followed by another, while it was written
      if (framework.stream !== stream) return undefined;
      framework.heartbeatAt = clock.monotonic() + mesosTimes.heartbeatMs;
      stream.send({
        type: 'SUBSCRIBED',
        subscribed: {
          framework_id: { value: id },
          heartbeat_interval_seconds: mesosTimes.heartbeatMs / 1_000,
          master_info: masterInfo(),
        },
      });
      stream.send({ type: 'HEARTBEAT' });
      log.info(known ? 'a framework is back' : 'a framework subscribed', { framework: id, name: info.name, principal });
      if (known === undefined) listener.onAdded(framework);
      else listener.onUpdated(framework);
      return framework;
    },
    async update(framework, info, suppressedRoles) {
      framework.info = { ...info, id: { value: framework.id } };
      framework.suppressed.clear();
      for (const role of suppressedRoles) framework.suppressed.add(role);
      await put(framework);
      listener.onUpdated(framework);
    },
    disconnect(framework, stream) {
      if (framework.stream !== stream) return;
      log.info('a framework is away', { framework: framework.id, name: framework.info.name });
      leave(framework);
    },
    remove,
    get: id => present.get(id),
    list: () => [...present.values()],
    removed: () => [...removed.values()],
    sweep() {
      const now = clock.monotonic();
      for (const framework of present.values()) {
        const { stream, removeAt } = framework;
        if (stream !== undefined && now >= framework.heartbeatAt) {
          framework.heartbeatAt = now + mesosTimes.heartbeatMs;
          stream.send({ type: 'HEARTBEAT' });
        }
        if (removeAt !== undefined && now >= removeAt) {
          inBackground('removing a framework', remove(framework, 'it did not come back within its failover timeout'));
        }
      }
    },
  };
}

/** Does it take offers for `role` now? */
export function wantsOffers(framework: Framework, role: string): boolean {
  return framework.stream !== undefined && !framework.suppressed.has(role) && rolesOf(framework.info).includes(role);
}
