import * as v from 'valibot';
import { dayMs, minuteMs, secondMs } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { checkedLifetimes, type Lifetimes } from '../identity/lifetimes.ts';
import type { RootState } from '../identity/root.ts';
import type { ProxySettings } from '../link/proxy-rules.ts';
import { isTrustDomain, maxOfflineGraceMs } from '../model/identity.ts';
import { defaultMesh, type MeshDefault, type PathNormalization } from '../model/policy.ts';
import type { RankSettings } from '../scheduling/rank.ts';

/** How much of the audit the master keeps; the oldest goes first. */
export interface AuditKeeping {
  readonly ms: number;
  /** Of the records' texts; the database takes about twice that. */
  readonly bytes: number;
}

export const defaultAuditKeeping: AuditKeeping = { ms: 30 * dayMs, bytes: 512 * 1024 * 1024 };

/** Settings of a master; the command line gives some, the rest are the defaults below. */
export interface MasterConfig {
  readonly dataDir: string;
  /** The installed program, of which other machines are made nodes; when absent, none are. */
  readonly programDir?: string;
  /** Address to listen on; `::` takes IPv4 too, where the system has IPv6. */
  readonly host: string;
  readonly mqttPort: number;
  readonly apiPort: number;
  /** A broker that others run, in place of the embedded one: `joinPort` is for those who have no certificate yet. */
  readonly broker?: { readonly host: string; readonly port: number; readonly joinPort: number } | undefined;
  /** Plain HTTP on 127.0.0.1 for clients of Mesos that speak no TLS; `isOpen` lets in those without credentials too. */
  readonly mesosHttp?: { readonly port: number; readonly isOpen: boolean } | undefined;
  /** Names and addresses that agents and operators call the master by; they stand in its certificate and in join strings. */
  readonly advertise: readonly string[];
  readonly trustDomain: string;
  /** Istio's root namespace: policies in it hold for every namespace. */
  readonly rootNamespace: string;
  readonly meshDefault: MeshDefault;
  /** How the master gets out, for the keys of issuers. */
  readonly proxy?: ProxySettings;
  /** How paths are brought to one form before policies look at them. */
  readonly pathNormalization: PathNormalization;
  /** Which of the tasks of one priority goes first; the longest where it is left out. */
  readonly taskOrder?: RankSettings['order'];
  /**
   * A node that was cut off may come back with a certificate that expired so long ago, to renew it and for nothing else; later it must
   * join again.
   */
  readonly offlineGraceMs: number;
  /** How much of the audit is kept; see `defaultAuditKeeping`. */
  readonly audit?: Partial<AuditKeeping>;
  /** Of what the authority makes, where they are not the defaults of identity/lifetimes.ts. */
  readonly lifetimes?: Partial<Lifetimes>;
  /** Encrypts the authority's keys; without one the key to them is in a file beside them. */
  readonly authorityPassphrase?: string;
  /** A root of the user's, for the first start; its key is not encrypted. */
  readonly root?: RootState;
}

export const defaultMasterConfig = {
  host: '0.0.0.0',
  mqttPort: 8883,
  apiPort: 8443,
  ...defaultMesh,
  offlineGraceMs: 7 * dayMs,
} as const;

/** Times that the master lives by. */
export const masterTimes = {
  /** Signed documents are good for so long after their last renewal; an agent keeps the last good one anyway. */
  documentTtlMs: 30 * dayMs,
  manifestTtlMs: dayMs,
  manifestEveryMs: 30 * minuteMs,
  /** Commands and assignments in flight. */
  messageTtlMs: 10 * minuteMs,
  /** A round waits so long after the event that woke it, so that what comes together is placed together. */
  roundDelayMs: 20,
  /** As Mesos' `allocation_interval`: what the built-in scheduler was granted beside others and did not use is shared again. */
  shareAgainMs: secondMs,
  /** After a round that failed, as when the disk is full. */
  roundRetryMs: 5 * secondMs,
  /** Join tokens are shown for so long after they have expired. */
  keepExpiredTokensMs: 7 * dayMs,
  housekeepingEveryMs: 10 * minuteMs,
  /** A timer stands still while the machine sleeps: what was due is done so long after it wakes. */
  trustEveryMs: minuteMs,
  logAnswerMs: 5 * secondMs,
} as const;

/** Throws INVALID_INPUT for what cannot be a master. */
export function checkMasterConfig(config: MasterConfig): MasterConfig {
  if (!isTrustDomain(config.trustDomain)) {
    throw new MesoliteError(
      'INVALID_INPUT',
      `trust domain: expected a name as edge.example, got "${config.trustDomain}"`,
    );
  }
  for (const [name, port] of [
    ['mqtt port', config.mqttPort],
    ['api port', config.apiPort],
    ['mesos http port', config.mesosHttp?.port ?? 0],
  ] as const) {
    if (!v.is(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535)), port)) {
      throw new MesoliteError('INVALID_INPUT', `${name}: expected 0 to 65535, got ${port}`);
    }
  }
  if (config.advertise.length === 0) {
    throw new MesoliteError('INVALID_INPUT', 'advertise: expected at least one name or address of this master');
  }
  if (!(config.offlineGraceMs >= 0 && config.offlineGraceMs <= maxOfflineGraceMs)) {
    throw new MesoliteError('INVALID_INPUT', `offline grace: expected 0s to 90d, got ${config.offlineGraceMs} ms`);
  }
  checkLifetimes(checkedLifetimes(config.lifetimes));
  return config;
}

/** Agents look every 30 s whether a certificate is two thirds through. */
const leastLifetimeMs = 2 * minuteMs;

/** A new issuing authority comes at two thirds of the life of the one before, and what that issued last must fit in the rest. */
function checkLifetimes(lifetimes: Lifetimes): void {
  const { rootMs, issuingMs, configMs, serverMs, nodeMs, workloadMs } = lifetimes;
  const fits = [
    ['node lifetime', nodeMs, 'a third of the issuing lifetime', issuingMs / 3],
    ['workload lifetime', workloadMs, 'a third of the issuing lifetime', issuingMs / 3],
    ['server lifetime', serverMs, 'a third of the issuing lifetime', issuingMs / 3],
    ['issuing lifetime', issuingMs, 'a third of the root lifetime', rootMs / 3],
    ['signer lifetime', configMs, 'a third of the root lifetime', rootMs / 3],
  ] as const;
  for (const [name, ms, whole, mostMs] of fits) {
    if (ms < leastLifetimeMs) throw new MesoliteError('INVALID_INPUT', `${name}: expected at least 2m, got ${ms} ms`);
    if (ms > mostMs) {
      throw new MesoliteError('INVALID_INPUT', `${name}: expected at most ${whole} (${mostMs} ms), got ${ms} ms`);
    }
  }
}
