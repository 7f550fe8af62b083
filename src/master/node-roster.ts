import { type StrainLevel, slowdowns } from '../lifecycle/strain.ts';
import { isDrained } from '../model/drain.ts';
import { makeRoster, type Roster, type SchedulingNode } from '../scheduling/roster.ts';
import type { FleetNode } from './fleet.ts';

const unavailable = {
  joined: 'has not introduced itself yet',
  unreachable: 'is unreachable',
  quarantined: 'is in quarantine',
} as const;

const tooHot = 'is too hot: it takes no more tasks until it has cooled down';

/** The fleet as the scheduler sees it at a moment: the same roster as before until one of the nodes is another to it. */
export function makeNodeRoster(parts: {
  readonly fleet: { list(): readonly FleetNode[] };
  readonly strainOf: (node: string) => StrainLevel;
  /** Of what the master has itself; what it has not is as large as nodes say that have it. */
  readonly artifactBytes: (artifact: string) => number | undefined;
}): (now: number) => Roster {
  const { fleet, strainOf, artifactBytes } = parts;
  let entries: readonly Entry[] = [];
  let roster = makeRoster([]);
  return now => {
    const fresh = fleet.list().map((node, i) => entryOf(node, strainOf(node.id), now, entries[i]));
    const isSame = fresh.length === entries.length && fresh.every((entry, i) => entry === entries[i]);
    entries = fresh;
    if (!isSame) {
      const told = toldSizes(fresh);
      roster = makeRoster(
        fresh.map(({ seen }) => seen),
        artifact => artifactBytes(artifact) ?? told(artifact),
      );
    }
    return roster;
  };
}

/** How large an artifact is by the first node that has it, which is looked for once; 0 where none has. */
function toldSizes(nodes: readonly Pick<FleetNode, 'stock'>[]): (artifact: string) => number {
  const known = new Map<string, number>();
  return artifact => {
    const holder = known.has(artifact) ? undefined : nodes.find(({ stock }) => stock?.holds[artifact] !== undefined);
    const bytes = known.get(artifact) ?? holder?.stock?.holds[artifact] ?? 0;
    known.set(artifact, bytes);
    return bytes;
  };
}

/** The nearest of so many values an octave: nodes that are about alike are of one kind to the scheduler, not each its own. */
function near(value: number, perOctave: number): number {
  return 2 ** (Math.round(Math.log2(value) * perOctave) / perOctave);
}

/** A node as it was seen, and what that was made of. */
interface Entry extends Pick<FleetNode, 'id' | 'birth' | 'labels' | 'stock'> {
  readonly seen: SchedulingNode;
}

/** `before` where nothing is different: a heartbeat makes another `FleetNode`, of the same birth. */
function entryOf(node: FleetNode, strain: StrainLevel, now: number, before: Entry | undefined): Entry {
  const { id, labels, birth, stock, drain = null } = node;
  const closesAt = drain !== null && drain.from > now ? drain.from : undefined;
  const slowdown = slowdowns[strain];
  const why = whyUnavailable(node, now) ?? (strain === 'hot' ? tooHot : undefined);
  if (
    before?.id === id &&
    before.birth === birth &&
    before.labels === labels &&
    before.stock === stock &&
    before.seen.slowdown === slowdown &&
    before.seen.closesAt === closesAt &&
    before.seen.unavailable === why
  )
    return before;
  const seen = {
    id,
    hostname: id,
    attributes: { ...birth?.attributes, ...labels, node: id },
    profile: birth?.profile ?? '',
    speed: near(birth?.speed ?? 1, 8),
    slowdown,
    ...(closesAt !== undefined && { closesAt }),
    ...(why !== undefined && { unavailable: why }),
    holds: stock?.holds,
    ...(stock?.bytesPerSecond !== undefined && { fetchBytesPerSecond: near(stock.bytesPerSecond, 1) }),
  };
  return { id, labels, birth, stock, seen };
}

function whyUnavailable({ state, birth, drain = null, ahead = null }: FleetNode, now: number): string | undefined {
  if (birth === null) return unavailable.joined;
  if (state !== 'ready') return unavailable[state];
  if (ahead !== null) return 'holds what this master does not know, until it is taken over';
  return isDrained(drain, now) ? 'is drained' : undefined;
}
