import { secondMs } from '../base/clock.ts';
import { type DestinationRuleSpec, defaultRingSize, type TrafficPolicy } from '../model/destination-rule.ts';
import type { Balancing } from './balance.ts';
import { type BreakerSettings, defaultBreaker } from './breaker.ts';
import { defaultOutlier, type OutlierSettings } from './outlier.ts';

/** What of a request decides its host under consistent hashing. */
export type HashKey =
  | { readonly from: 'header' | 'query'; readonly name: string }
  | { readonly from: 'source' }
  | {
      readonly from: 'cookie';
      readonly name: string;
      readonly path: string;
      /** A client without the cookie is given one for so long; 0 until its session ends. Absent: it is given none. */
      readonly ttlSeconds: number | undefined;
    };

/** How connections to endpoints are kept; milliseconds. */
export interface ConnectionSettings {
  readonly connectTimeoutMs: number;
  /** Without a request. */
  readonly idleMs: number;
  /** With this age a connection gets no further request. */
  readonly maxAgeMs: number;
  readonly maxRequests: number;
  /** Of silence before TCP asks whether the other side is still there; 0 leaves that to the system. */
  readonly keepaliveMs: number;
  /** Requests to another agent share a connection; otherwise each has one of its own while it lasts. */
  readonly multiplexed: boolean;
  /** Requests that share a connection between two agents. */
  readonly maxStreams: number;
  /** Of silence before a tunnel (TCP, WebSocket) is closed; undefined leaves that to the proxy. */
  readonly tunnelIdleMs: number | undefined;
}

/** How the endpoints of a service, or of a subset of it, are used: Istio's traffic policy with all defaults filled in. */
export interface ClusterSettings {
  /** An endpoint has all of them, or it is not in the subset. */
  readonly labels: Readonly<Record<string, string>>;
  readonly balancing: Balancing;
  readonly hashKey: HashKey | undefined;
  readonly outlier: OutlierSettings;
  readonly breaker: BreakerSettings;
  readonly connections: ConnectionSettings;
}

/** Shorter than the minute after which the mesh port of the other side closes an idle connection. */
const maxIdleMs = 50 * secondMs;
const unlimited = Number.POSITIVE_INFINITY;

/** What holds for a service of which no DestinationRule speaks. */
export const defaultCluster: ClusterSettings = clusterOf({}, {});

/** The settings of one subset of a rule, or of all its endpoints ('' for the name); undefined for a subset that it does not have. */
export function clusterSettings(rule: DestinationRuleSpec, subsetName: string): ClusterSettings | undefined {
  if (subsetName === '') return clusterOf({}, rule.trafficPolicy ?? {});
  const subset = rule.subsets.find(({ name }) => name === subsetName);
  // each field of a subset's policy replaces that of the rule, whole
  return subset && clusterOf(subset.labels, { ...rule.trafficPolicy, ...subset.trafficPolicy });
}

function clusterOf(labels: Readonly<Record<string, string>>, policy: TrafficPolicy): ClusterSettings {
  return {
    labels,
    balancing: balancingOf(policy.loadBalancer),
    hashKey: hashKeyOf(policy.loadBalancer?.consistentHash),
    outlier: outlierOf(policy.outlierDetection),
    breaker: breakerOf(policy),
    connections: connectionsOf(policy.connectionPool),
  };
}

function balancingOf(balancer: TrafficPolicy['loadBalancer']): Balancing {
  const { simple, consistentHash, warmup } = balancer ?? {};
  if (consistentHash?.maglev !== undefined) return { kind: 'MAGLEV', tableSize: consistentHash.maglev.tableSize };
  if (consistentHash !== undefined) {
    return { kind: 'RING_HASH', minimumSize: consistentHash.ringHash?.minimumRingSize ?? defaultRingSize };
  }
  if (simple === 'RANDOM') return { kind: 'RANDOM' };
  const kind = simple === 'ROUND_ROBIN' ? 'ROUND_ROBIN' : 'LEAST_REQUEST';
  if (warmup === undefined) return { kind };
  const { duration, minimumPercent, aggression } = warmup;
  return { kind, slowStart: { windowMs: duration, minPercent: minimumPercent, aggression } };
}

function hashKeyOf(hash: NonNullable<TrafficPolicy['loadBalancer']>['consistentHash']): HashKey | undefined {
  if (hash === undefined) return undefined;
  const { httpHeaderName, httpCookie, httpQueryParameterName } = hash;
  if (httpHeaderName !== undefined) return { from: 'header', name: httpHeaderName.toLowerCase() };
  if (httpQueryParameterName !== undefined) return { from: 'query', name: httpQueryParameterName };
  if (httpCookie === undefined) return { from: 'source' };
  const { name, path = '', ttl } = httpCookie;
  return { from: 'cookie', name, path, ttlSeconds: ttl === undefined ? undefined : Math.ceil(ttl / secondMs) };
}

function outlierOf(detection: TrafficPolicy['outlierDetection']): OutlierSettings {
  if (detection === undefined) return defaultOutlier;
  const codes = detection.outlierDetectionHttpErrorCodes;
  return {
    consecutive5xx: detection.consecutive5xxErrors ?? defaultOutlier.consecutive5xx,
    consecutiveGatewayErrors: detection.consecutiveGatewayErrors ?? defaultOutlier.consecutiveGatewayErrors,
    consecutiveLocalOrigin: detection.consecutiveLocalOriginFailures ?? defaultOutlier.consecutiveLocalOrigin,
    splitLocalOrigin: detection.splitExternalLocalOriginErrors,
    errorCodes: codes && new Set(codes),
    intervalMs: detection.interval ?? defaultOutlier.intervalMs,
    baseEjectionMs: detection.baseEjectionTime ?? defaultOutlier.baseEjectionMs,
    maxEjectionPercent: detection.maxEjectionPercent ?? defaultOutlier.maxEjectionPercent,
    minHealthPercent: detection.minHealthPercent ?? defaultOutlier.minHealthPercent,
  };
}

/** A budget replaces the number of retries. As in Istio, 0 leaves connections and requests unbounded; a retry may be forbidden. */
function breakerOf({ connectionPool, retryBudget }: TrafficPolicy): BreakerSettings {
  const { tcp, http } = connectionPool ?? {};
  const budget = retryBudget && { percent: retryBudget.percent, minConcurrency: retryBudget.minRetryConcurrency };
  return {
    maxConnections: tcp?.maxConnections || defaultBreaker.maxConnections,
    maxPending: http?.http1MaxPendingRequests || defaultBreaker.maxPending,
    maxRequests: http?.http2MaxRequests || defaultBreaker.maxRequests,
    retries: budget ?? http?.maxRetries ?? defaultBreaker.retries,
  };
}

function connectionsOf(pool: TrafficPolicy['connectionPool']): ConnectionSettings {
  const { tcp, http } = pool ?? {};
  return {
    connectTimeoutMs: tcp?.connectTimeout ?? 5 * secondMs,
    idleMs: Math.min(http?.idleTimeout ?? maxIdleMs, maxIdleMs),
    maxAgeMs: tcp?.maxConnectionDuration ?? unlimited,
    maxRequests: http?.maxRequestsPerConnection || unlimited,
    keepaliveMs: tcp?.tcpKeepalive?.time ?? 0,
    multiplexed: http?.h2UpgradePolicy !== 'DO_NOT_UPGRADE',
    maxStreams: http?.maxConcurrentStreams || unlimited,
    tunnelIdleMs: tcp?.idleTimeout,
  };
}
