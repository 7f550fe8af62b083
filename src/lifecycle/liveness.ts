/** What the master knows of a node's life; times by the master's monotonic clock, in milliseconds. */
export interface Lease {
  /** The agent's boot number: what an older one sent does not count. */
  readonly boot: number;
  readonly heartbeatMs: number;
  readonly lastSeen: number;
  /** When its last will arrived, if it did after `lastSeen`. */
  readonly deathHintAt?: number;
}

export interface LeaseVerdict {
  /** `unreachable` is no more than silence: its tasks may well be running. */
  readonly state: 'ready' | 'unreachable';
  /** When to judge again; absent while only a new heartbeat can change the state. */
  readonly lookAgainAt?: number;
}

/** The lease after a birth or a heartbeat; one of an older boot changes nothing. */
export function renewLease(
  lease: Lease | undefined,
  seen: { readonly boot: number; readonly heartbeatMs: number },
  now: number,
): Lease {
  if (lease !== undefined && seen.boot < lease.boot) return lease;
  return { boot: seen.boot, heartbeatMs: seen.heartbeatMs, lastSeen: now };
}

/** A last will shortens the lease and does not decide: MQTT can bring it after a newer heartbeat. */
export function hintDeath(lease: Lease, boot: number, now: number): Lease {
  return boot < lease.boot || lease.deathHintAt !== undefined ? lease : { ...lease, deathHintAt: now };
}

/** A node is ready until `missed` heartbeats in a row did not come; after a death hint it has one interval to contradict. */
export function judgeLease(lease: Lease, now: number, missed = 3): LeaseVerdict {
  const silentAt = lease.lastSeen + missed * lease.heartbeatMs;
  const endsAt = lease.deathHintAt === undefined ? silentAt : Math.min(silentAt, lease.deathHintAt + lease.heartbeatMs);
  return now >= endsAt ? { state: 'unreachable' } : { state: 'ready', lookAgainAt: endsAt };
}
