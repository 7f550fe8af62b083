import { minuteMs, secondMs } from '../base/clock.ts';

/** Envoy's outlier detection as Istio names it: errors in a row take a host out of the choice for a while. 0 switches a count off. */
export interface OutlierSettings {
  readonly consecutive5xx: number;
  /** 502, 503 and 504. */
  readonly consecutiveGatewayErrors: number;
  /** No connection, a broken one, no answer in time; only counted apart when `splitLocalOrigin`, otherwise they are a 503. */
  readonly consecutiveLocalOrigin: number;
  readonly splitLocalOrigin: boolean;
  /** Statuses that count as errors beside 500 to 599. */
  readonly errorCodes?: ReadonlySet<number> | undefined;
  readonly intervalMs: number;
  readonly baseEjectionMs: number;
  readonly maxEjectionPercent: number;
  /** With fewer hosts left than this, in percent, all are in the choice again (Envoy's panic threshold). */
  readonly minHealthPercent: number;
}

/** Istio's defaults. */
export const defaultOutlier: OutlierSettings = {
  consecutive5xx: 5,
  consecutiveGatewayErrors: 0,
  consecutiveLocalOrigin: 5,
  splitLocalOrigin: false,
  intervalMs: 10 * secondMs,
  baseEjectionMs: 30 * secondMs,
  maxEjectionPercent: 10,
  minHealthPercent: 0,
};

/** What is counted in place of a status when no answer came; as Envoy, without `splitLocalOrigin` it is taken for a 503. */
export const localOrigin = 0;

/** No ejection is longer, unless the base time is (Envoy's max_ejection_time). */
const maxEjectionMs = 5 * minuteMs;

/** What is remembered of one host; changed in place, since it is touched by every answer. */
export interface HostHealth {
  errors: number;
  gatewayErrors: number;
  localErrors: number;
  /** Monotonic milliseconds; 0 while the host is in the choice. */
  ejectedUntil: number;
  /** How many base times the next ejection lasts, less one. */
  backoff: number;
}

/** The hosts of one cluster as the detector sees them. */
export interface OutlierState {
  readonly hosts: readonly HostHealth[];
  ejected: number;
  /** When the last sweep was due, in monotonic milliseconds. */
  sweptAt: number;
}

export function newHostHealth(): HostHealth {
  return { errors: 0, gatewayErrors: 0, localErrors: 0, ejectedUntil: 0, backoff: 0 };
}

/** The detector of `hosts`, which were swept last at `sweptAt`, or have just come; hosts that were ejected before stay so. */
export function newOutlierState(hosts: readonly HostHealth[], sweptAt: number): OutlierState {
  return { hosts, ejected: hosts.filter(isEjected).length, sweptAt };
}

export function isEjected(host: HostHealth): boolean {
  return host.ejectedUntil !== 0;
}

/**
 * Are so many ejected that to use them all is better than to use those that are left? Also when the others have left the cluster, so that
 * all are ejected though nobody asked for that.
 */
export function isPanicking(state: OutlierState, settings: OutlierSettings): boolean {
  const { length } = state.hosts;
  if (state.ejected === length && settings.maxEjectionPercent < 100) return true;
  return 100 * (length - state.ejected) < settings.minHealthPercent * length;
}

/** Counts one answer, by its status or `localOrigin`; true when it got the host ejected. */
export function recordOutcome(
  state: OutlierState,
  host: HostHealth,
  status: number,
  now: number,
  settings: OutlierSettings,
): boolean {
  if (isEjected(host) || !isOverLimit(host, status, settings) || !mayEject(state, settings)) return false;
  const { baseEjectionMs } = settings;
  const longest = Math.max(baseEjectionMs, maxEjectionMs);
  host.ejectedUntil = now + Math.min(baseEjectionMs * (host.backoff + 1), longest);
  if (baseEjectionMs * host.backoff < longest + baseEjectionMs) host.backoff++;
  state.ejected++;
  return true;
}

/** Does what is due since the last sweep: takes hosts back whose time is over, and lets healthy ones forget. True when one came back. */
export function sweep(state: OutlierState, now: number, settings: OutlierSettings): boolean {
  const intervals = Math.floor((now - state.sweptAt) / settings.intervalMs);
  if (intervals < 1) return false;
  state.sweptAt += intervals * settings.intervalMs;
  const before = state.ejected;
  for (const host of state.hosts) {
    if (!isEjected(host)) {
      host.backoff = Math.max(0, host.backoff - intervals);
    } else if (host.ejectedUntil <= state.sweptAt) {
      const healthy = Math.floor((state.sweptAt - host.ejectedUntil) / settings.intervalMs);
      host.ejectedUntil = 0;
      host.errors = host.gatewayErrors = host.localErrors = 0;
      host.backoff = Math.max(0, host.backoff - healthy);
      state.ejected--;
    }
  }
  return state.ejected < before;
}

/** Counts, and says whether one of the counts has reached its limit. */
function isOverLimit(host: HostHealth, status: number, settings: OutlierSettings): boolean {
  if (settings.splitLocalOrigin) {
    if (status === localOrigin) return ++host.localErrors >= limit(settings.consecutiveLocalOrigin);
    host.localErrors = 0;
  }
  const code = status === localOrigin ? 503 : status;
  host.errors = isError(status, settings) ? host.errors + 1 : 0;
  host.gatewayErrors = code >= 502 && code <= 504 ? host.gatewayErrors + 1 : 0;
  return (
    host.errors >= limit(settings.consecutive5xx) || host.gatewayErrors >= limit(settings.consecutiveGatewayErrors)
  );
}

function isError(status: number, { errorCodes }: OutlierSettings): boolean {
  return status === localOrigin || status >= 500 || errorCodes?.has(status) === true;
}

function limit(count: number): number {
  return count === 0 ? Number.POSITIVE_INFINITY : count;
}

/** The share that may be out at once. One of several always may, whatever its share; the last one only where 100 % is asked for. */
function mayEject(state: OutlierState, settings: OutlierSettings): boolean {
  const { length } = state.hosts;
  const after = state.ejected + 1;
  return (after === 1 && length > 1) || 100 * after <= settings.maxEjectionPercent * length;
}
