import type { Random } from '../base/random.ts';

/** Istio's names of the two that are offered. */
export type Balancing = 'LEAST_REQUEST' | 'ROUND_ROBIN';

/** One host as the choice sees it. */
export interface Candidate {
  readonly weight: number;
  /** Requests that it has now. */
  readonly active: number;
  /** May it be chosen at all? */
  readonly available: boolean;
}

const tries = 4;

/**
 * Envoy's LEAST_REQUEST with equal weights: two random hosts, the less busy one. An unavailable draw is repeated a few
 * times before the hosts are searched one by one from a random place. -1 when no host is available.
 */
export function pickLeastRequest(hosts: readonly Candidate[], equalWeights: boolean, random: Random): number {
  if (!equalWeights) return pickByWeight(hosts, random);
  const first = drawAvailable(hosts, random);
  if (first < 0) return -1;
  const second = drawAvailable(hosts, random);
  return load(hosts[second]) < load(hosts[first]) ? second : first;
}

/** The next available host after `turn`; with weights that differ, drawn by weight. -1 when no host is available. */
export function pickRoundRobin(
  hosts: readonly Candidate[],
  equalWeights: boolean,
  turn: number,
  random: Random,
): number {
  return equalWeights ? searchAvailable(hosts, turn % Math.max(1, hosts.length)) : pickByWeight(hosts, random, 0);
}

/** Draws with probability in proportion to Envoy's effective weight, `weight / (active + 1) ^ bias`. */
function pickByWeight(hosts: readonly Candidate[], random: Random, bias = 1): number {
  let total = 0;
  for (const host of hosts) total += effectiveWeight(host, bias);
  let left = random() * total;
  let last = -1;
  for (let i = 0; i < hosts.length; i++) {
    const weight = effectiveWeight(hosts[i], bias);
    if (weight === 0) continue;
    last = i;
    left -= weight;
    if (left < 0) return i;
  }
  return last;
}

function effectiveWeight(host: Candidate | undefined, bias: number): number {
  if (host === undefined || !host.available) return 0;
  return bias === 0 ? host.weight : host.weight / (host.active + 1);
}

function drawAvailable(hosts: readonly Candidate[], random: Random): number {
  let at = 0;
  for (let i = 0; i < tries; i++) {
    at = Math.floor(random() * hosts.length);
    if (hosts[at]?.available) return at;
  }
  return searchAvailable(hosts, at);
}

function searchAvailable(hosts: readonly Candidate[], from: number): number {
  for (let i = 0; i < hosts.length; i++) {
    const at = (from + i) % hosts.length;
    if (hosts[at]?.available) return at;
  }
  return -1;
}

function load(host: Candidate | undefined): number {
  return host === undefined ? Number.POSITIVE_INFINITY : host.active;
}
