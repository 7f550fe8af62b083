import { maxTableEntries } from '../model/destination-rule.ts';
import { type Candidate, nextAvailable } from './candidate.ts';
import { hash32, mixed } from './hash.ts';

/** Finds the host of a hash of 32 bits. */
export interface HashTable {
  /** The host of `hash`, or where that one is unavailable another, always the same; -1 when none is available. */
  find(hash: number, hosts: readonly Candidate[]): number;
}

/**
 * Ketama: each host stands at many places of a ring, in proportion to its weight, and a hash belongs to the next one clockwise. The
 * lightest host gets whole entries, and the ring at least `minimumSize` (Envoy's ring_hash_lb.cc); to step over an unavailable host is
 * the same as a ring without it.
 */
export class Ring implements HashTable {
  readonly #positions: Uint32Array;
  readonly #hosts: Uint16Array;

  constructor(hosts: readonly Candidate[], minimumSize: number) {
    const entries = placed(hosts, minimumSize);
    this.#positions = Uint32Array.from(entries, entry => Math.floor(entry / 65_536));
    this.#hosts = Uint16Array.from(entries, entry => entry % 65_536);
  }

  get size(): number {
    return this.#positions.length;
  }

  find(hash: number, hosts: readonly Candidate[]): number {
    const { length } = this.#positions;
    let at = this.#search(hash);
    for (let i = 0; i < Math.min(length, maxRingSteps); i++, at++) {
      if (at >= length) at = 0;
      const host = this.#hosts[at] ?? 0;
      if (hosts[host]?.available) return host;
    }
    return anyAvailable(hosts, hash);
  }

  /** The first place whose position is not below `hash`. */
  #search(hash: number): number {
    let low = 0;
    let high = this.#positions.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#positions[middle] ?? 0) < hash) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Entries in order of their position; each is `position * 65536 + host`, which a double holds exactly. */
function placed(hosts: readonly Candidate[], minimumSize: number): Float64Array {
  const total = hosts.reduce((sum, host) => sum + host.weight, 0);
  const lightest = hosts.reduce((least, host) => Math.min(least, host.weight), Number.POSITIVE_INFINITY) / total;
  const scale = Math.min(Math.ceil(lightest * minimumSize) / lightest, maxTableEntries);
  const entries: number[] = [];
  let wanted = 0;
  for (const [i, host] of hosts.entries()) {
    wanted += (scale * host.weight) / total;
    for (let n = 0; entries.length < wanted - 1e-6; n++) entries.push(hash32(`${host.key}_${n}`) * 65_536 + i);
  }
  return Float64Array.from(entries).sort();
}

/**
 * Maglev (Eisenbud et al., NSDI 2016, section 3.4): hosts take turns at filling a table, each along a permutation of its own; one of half
 * the weight sits out every other turn. Faster than a ring, and more even; a change of hosts moves about twice as many keys.
 */
export class Maglev implements HashTable {
  readonly #table: Uint16Array;

  /** `size` is a prime. */
  constructor(hosts: readonly Candidate[], size: number) {
    this.#table = hosts.length === 0 ? new Uint16Array(0) : filled(hosts, size);
  }

  /** The host of each entry. */
  get entries(): Uint16Array {
    return this.#table;
  }

  find(hash: number, hosts: readonly Candidate[]): number {
    const { length } = this.#table;
    if (length === 0) return -1;
    // an unavailable host's keys spread over the others by a walk of their own, while all other keys stay
    const step = 1 + (mixed(hash) % (length - 1));
    let at = hash % length;
    for (let i = 0; i < maxSteps; i++, at = (at + step) % length) {
      const host = this.#table[at] ?? 0;
      if (hosts[host]?.available) return host;
    }
    return anyAvailable(hosts, hash);
  }
}

/** So far the next available host is looked for in a table: there may be none, or one that is too light to be in it. */
const maxRingSteps = 1024;
const maxSteps = 32;

/** An available host, the same for the same hash; -1 when there is none. */
function anyAvailable(hosts: readonly Candidate[], hash: number): number {
  return hosts.length === 0 ? -1 : nextAvailable(hosts, mixed(hash) % hosts.length);
}

const vacant = 65_535;

function filled(hosts: readonly Candidate[], size: number): Uint16Array {
  const table = new Uint16Array(size).fill(vacant);
  const weights = Float64Array.from(hosts, host => host.weight);
  const heaviest = Math.max(...weights);
  const places = Int32Array.from(hosts, host => hash32(host.key) % size);
  const steps = Int32Array.from(hosts, host => 1 + (hash32(host.key, 1) % (size - 1)));
  const taken = new Uint32Array(hosts.length);
  // whose turn it is in each of those to come: to ask the light ones in every turn would take seconds
  const due = new Map([[1, [...hosts.keys()]]]);
  let left = size;
  for (let turn = 1; left > 0; turn++) {
    for (const i of (due.get(turn) ?? []).sort(ascending)) {
      if (left-- === 0) break;
      places[i] = nextVacant(table, places[i] ?? 0, steps[i] ?? 1);
      table[places[i] ?? 0] = i;
      taken[i] = (taken[i] ?? 0) + 1;
      const next = Math.max(turn + 1, Math.ceil(((taken[i] ?? 0) * heaviest) / (weights[i] ?? 0)));
      const others = due.get(next);
      if (others === undefined) due.set(next, [i]);
      else others.push(i);
    }
    due.delete(turn);
  }
  return table;
}

function ascending(a: number, b: number): number {
  return a - b;
}

/** Along a permutation; without a division, which would be most of the work. */
function nextVacant(table: Uint16Array, from: number, step: number): number {
  let place = from;
  while (table[place] !== vacant) {
    place += step;
    if (place >= table.length) place -= table.length;
  }
  return place;
}
