import type { Random } from '../base/random.ts';
import { type Candidate, nextAvailable } from './candidate.ts';
import { Edf } from './edf.ts';
import { type HashTable, Maglev, Ring } from './hash-table.ts';
import { type SlowStart, warmth } from './slow-start.ts';

/** How one of several hosts is chosen; Istio's names. */
export type Balancing =
  | { readonly kind: 'ROUND_ROBIN' | 'LEAST_REQUEST'; readonly slowStart?: SlowStart | undefined }
  | { readonly kind: 'RANDOM' }
  | { readonly kind: 'RING_HASH'; readonly minimumSize: number }
  | { readonly kind: 'MAGLEV'; readonly tableSize: number };

/** Chooses among the hosts that it was made with; their weight, load and availability are read anew each time. */
export interface Balancer {
  /** The index of the host to take; `hash` is 32 bits or -1 for none, `now` monotonic milliseconds. -1 when none is available. */
  pick(now: number, hash: number): number;
}

export function makeBalancer(balancing: Balancing, hosts: readonly Candidate[], random: Random): Balancer {
  switch (balancing.kind) {
    case 'ROUND_ROBIN':
      return new RoundRobin(hosts, balancing.slowStart, random);
    case 'LEAST_REQUEST':
      return new LeastRequest(hosts, balancing.slowStart, random);
    case 'RANDOM':
      return new RandomHost(hosts, random);
    case 'RING_HASH':
      return new ByHash(hosts, new Ring(hosts, balancing.minimumSize), random);
    case 'MAGLEV':
      return new ByHash(hosts, new Maglev(hosts, balancing.tableSize), random);
    default:
      return balancing satisfies never;
  }
}

/** What round robin and least request share: equal weights go the short way, others by earliest deadline. */
abstract class Weighted implements Balancer {
  protected readonly hosts: readonly Candidate[];
  protected readonly random: Random;
  readonly #slowStart: SlowStart | undefined;
  readonly #equal: boolean;
  /** Before that, hosts of equal weight may yet differ in warmth. */
  readonly #warmAt: number;
  #edf: Edf | undefined;

  constructor(hosts: readonly Candidate[], slowStart: SlowStart | undefined, random: Random) {
    this.hosts = hosts;
    this.random = random;
    this.#slowStart = slowStart;
    this.#equal = hosts.every(host => host.weight === hosts[0]?.weight);
    const youngest = hosts.reduce((latest, host) => Math.max(latest, host.joinedAt), 0);
    this.#warmAt = slowStart === undefined ? 0 : youngest + slowStart.windowMs;
  }

  pick(now: number): number {
    return this.#equal && now >= this.#warmAt ? this.pickEqual() : this.#pickByDeadline(now);
  }

  protected abstract pickEqual(): number;

  /** By how much more than it weighs a host's turns are apart. */
  protected abstract burden(host: Candidate): number;

  #pickByDeadline(now: number): number {
    // a random start, so that many proxies do not begin with the same host
    this.#edf ??= new Edf(this.hosts.length, i => this.random() / (this.hosts[i]?.weight ?? 1));
    const edf = this.#edf;
    if (edf.hasAside) edf.takeBack(this.#isAvailable, this.#weightOf);
    for (let at = edf.next; at >= 0; at = edf.next) {
      const host = this.hosts[at];
      if (host?.available) {
        const warm = this.#slowStart === undefined ? 1 : warmth(now - host.joinedAt, this.#slowStart);
        edf.advance((host.weight * warm) / this.burden(host));
        return at;
      }
      edf.setAside();
    }
    return -1;
  }

  readonly #isAvailable = (at: number): boolean => this.hosts[at]?.available === true;
  readonly #weightOf = (at: number): number => this.hosts[at]?.weight ?? 1;
}

class RoundRobin extends Weighted {
  #last = -1;

  protected pickEqual(): number {
    if (this.#last < 0) this.#last = Math.floor(this.random() * this.hosts.length) - 1;
    this.#last = nextAvailable(this.hosts, this.#last + 1);
    return this.#last;
  }

  protected burden(): number {
    return 1;
  }
}

/**
 * Envoy's: of two random hosts the less busy one; with weights, `weight / (active + 1)` decides whose turn it is. Envoy may draw the same
 * host twice, which gives the slowest of three a ninth of all requests.
 */
class LeastRequest extends Weighted {
  protected pickEqual(): number {
    const first = drawAvailable(this.hosts, this.random);
    if (first < 0) return -1;
    const second = drawAvailable(this.hosts, this.random, first);
    return load(this.hosts[second]) < load(this.hosts[first]) ? second : first;
  }

  protected burden(host: Candidate): number {
    return host.active + 1;
  }
}

/** Heeds weights, which Envoy's does not: the master lowers that of a node which is too hot. */
class RandomHost implements Balancer {
  readonly #hosts: readonly Candidate[];
  readonly #random: Random;
  readonly #heaviest: number;

  constructor(hosts: readonly Candidate[], random: Random) {
    this.#hosts = hosts;
    this.#random = random;
    this.#heaviest = hosts.reduce((most, host) => Math.max(most, host.weight), 0);
  }

  /** A host of half the heaviest weight is taken every second time that it is drawn. */
  pick(): number {
    let at = -1;
    for (let i = 0; i < weighings; i++) {
      at = drawAvailable(this.#hosts, this.#random);
      const weight = this.#hosts[at]?.weight ?? this.#heaviest;
      if (weight === this.#heaviest || this.#random() * this.#heaviest < weight) return at;
    }
    return at;
  }
}

/** Enough for weights that differ by less than a factor of ten. */
const weighings = 32;

/** A request without a hash goes anywhere. */
class ByHash implements Balancer {
  readonly #hosts: readonly Candidate[];
  readonly #table: HashTable;
  readonly #random: Random;

  constructor(hosts: readonly Candidate[], table: HashTable, random: Random) {
    this.#hosts = hosts;
    this.#table = table;
    this.#random = random;
  }

  pick(_now: number, hash: number): number {
    return hash < 0 ? drawAvailable(this.#hosts, this.#random) : this.#table.find(hash, this.#hosts);
  }
}

const draws = 4;

/** A random one of the available hosts, each as likely as any other; never `other` (-1 for none) where there is another. */
function drawAvailable(hosts: readonly Candidate[], random: Random, other = -1): number {
  const from = other + 1;
  const count = other < 0 ? hosts.length : hosts.length - 1;
  for (let i = 0; i < draws && count > 0; i++) {
    const at = (from + Math.floor(random() * count)) % hosts.length;
    if (hosts[at]?.available) return at;
  }
  return drawCounted(hosts, random, other);
}

/** The same where few are available: draws among those alone. */
function drawCounted(hosts: readonly Candidate[], random: Random, other: number): number {
  let available = 0;
  for (let at = 0; at < hosts.length; at++) if (at !== other && hosts[at]?.available) available++;
  let left = Math.floor(random() * available);
  for (let at = 0; at < hosts.length; at++) if (at !== other && hosts[at]?.available && left-- === 0) return at;
  return other;
}

function load(host: Candidate | undefined): number {
  return host === undefined ? Number.POSITIVE_INFINITY : host.active;
}
