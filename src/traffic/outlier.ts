import { minuteMs, secondMs } from '../base/clock.ts';

/** Envoy's outlier detection: `consecutive5xx` failures in a row take a host out of the choice for a while. */
export interface OutlierSettings {
  readonly consecutive5xx: number;
  readonly intervalMs: number;
  readonly baseEjectionMs: number;
  readonly maxEjectionMs: number;
  readonly maxEjectionPercent: number;
}

/** Envoy's defaults. */
export const defaultOutlier: OutlierSettings = {
  consecutive5xx: 5,
  intervalMs: 10 * secondMs,
  baseEjectionMs: 30 * secondMs,
  maxEjectionMs: 5 * minuteMs,
  maxEjectionPercent: 10,
};

/** What is remembered of one host; changed in place, since it is touched by every answer. */
export interface HostHealth {
  consecutiveFailures: number;
  /** Monotonic milliseconds; 0 while the host is in the choice. */
  ejectedUntil: number;
  /** How many base times the next ejection lasts, less one. */
  backoff: number;
}

/** The hosts of one service as the detector sees them. */
export interface OutlierState {
  readonly hosts: readonly HostHealth[];
  ejected: number;
  /** When the last sweep was due, in monotonic milliseconds. */
  sweptAt: number;
}

export function newHostHealth(): HostHealth {
  return { consecutiveFailures: 0, ejectedUntil: 0, backoff: 0 };
}

/** The detector of `hosts` from `now` on; hosts that were ejected before stay so. */
export function newOutlierState(hosts: readonly HostHealth[], now: number): OutlierState {
  return { hosts, ejected: hosts.filter(isEjected).length, sweptAt: now };
}

export function isEjected(host: HostHealth): boolean {
  return host.ejectedUntil !== 0;
}

/** Counts one answer (a 5xx, or none at all, is a failure); true when it got the host ejected. */
export function recordOutcome(
  state: OutlierState,
  host: HostHealth,
  failed: boolean,
  now: number,
  settings: OutlierSettings,
): boolean {
  if (!failed) {
    host.consecutiveFailures = 0;
    return false;
  }
  if (isEjected(host) || ++host.consecutiveFailures < settings.consecutive5xx || !mayEject(state, settings)) {
    return false;
  }
  const lasting = Math.min(settings.baseEjectionMs * (host.backoff + 1), longest(settings));
  host.ejectedUntil = now + lasting;
  if (settings.baseEjectionMs * host.backoff < longest(settings) + settings.baseEjectionMs) host.backoff++;
  state.ejected++;
  return true;
}

/** Does what is due since the last sweep: takes hosts back whose time is over, and lets healthy ones forget. */
export function sweep(state: OutlierState, now: number, settings: OutlierSettings): void {
  const intervals = Math.floor((now - state.sweptAt) / settings.intervalMs);
  if (intervals < 1) return;
  state.sweptAt += intervals * settings.intervalMs;
  for (const host of state.hosts) {
    if (!isEjected(host)) {
      host.backoff = Math.max(0, host.backoff - intervals);
    } else if (host.ejectedUntil <= state.sweptAt) {
      const healthy = Math.floor((state.sweptAt - host.ejectedUntil) / settings.intervalMs);
      host.ejectedUntil = 0;
      host.consecutiveFailures = 0;
      host.backoff = Math.max(0, host.backoff - healthy);
      state.ejected--;
    }
  }
}

/** The share that may be out at once; always one in a small cluster, but never the last that is left. */
function mayEject(state: OutlierState, settings: OutlierSettings): boolean {
  const after = state.ejected + 1;
  if (after >= state.hosts.length) return false;
  return after === 1 || (100 * after) / state.hosts.length <= settings.maxEjectionPercent;
}

function longest(settings: OutlierSettings): number {
  return Math.max(settings.baseEjectionMs, settings.maxEjectionMs);
}
