import type { Affinity, Constraint } from '../model/job.ts';
import { affinityScore, unmetConstraints } from './feasible.ts';

/** A node as the scheduler sees it. */
export interface SchedulingNode {
  readonly id: string;
  readonly hostname: string;
  /** `arch`, `profile`, `node` and the labels that the operator gave: constraints look here. */
  readonly attributes: Readonly<Record<string, string>>;
  /** Nodes of one profile are expected to take equally long for the same work, as far as their `speed` is equal. */
  readonly profile: string;
  /** Measured, relative to a reference board; 1 where it was not measured. */
  readonly speed: number;
  /** Everything takes so many times as long there now, by heat or other load; 1 when left out. */
  readonly slowdown?: number | undefined;
  /** From then on it takes no tasks, in milliseconds since 1970: what would not end before is not placed there. */
  readonly closesAt?: number | undefined;
  /** Why it takes no new task now, as "is unreachable"; absent when it does. */
  readonly unavailable?: string | undefined;
}

/** Nodes on which all work takes equally long: of one profile, speed and slowdown. */
export interface Kind {
  /** Any of them. */
  readonly example: SchedulingNode;
  /** Indices of those that are available, ascending. */
  readonly members: readonly number[];
}

/** Nodes of one kind that are equally welcome. */
export interface Part {
  /** Index of the kind. */
  readonly kind: number;
  /** Of the affinities; 0 where there are none. */
  readonly score: number;
  readonly members: readonly number[];
}

/**
 * The nodes of a fleet, sorted for the scheduler. It is made once and serves every round until one of the nodes becomes another:
 * so a round costs what its tasks cost, not what the fleet does.
 */
export interface Roster {
  /** In the order that breaks ties. */
  readonly nodes: readonly SchedulingNode[];
  indexOf(id: string): number | undefined;
  readonly kinds: readonly Kind[];
  /** Of the node at `index`, the index of its kind. */
  kindOf(index: number): number;
  /** The available nodes that meet the constraints. */
  matching(constraints: readonly Constraint[], affinities: readonly Affinity[]): readonly Part[];
}

/** So many answers of `matching` are kept; beyond that they are found anew. */
const maxKept = 256;

export function makeRoster(nodes: readonly SchedulingNode[]): Roster {
  const kinds: { readonly example: SchedulingNode; readonly members: number[] }[] = [];
  const indices = new Map<string, number>();
  const known = new Map<string, number>();
  const kindOf = nodes.map((node, index) => {
    const key = `${node.profile} ${node.speed} ${node.slowdown ?? 1}`;
    const kind = known.get(key) ?? known.size;
    known.set(key, kind);
    indices.set(node.id, index);
    kinds[kind] ??= { example: node, members: [] };
    if (node.unavailable === undefined) kinds[kind].members.push(index);
    return kind;
  });
  const everywhere = kinds.map(({ members }, kind): Part => ({ kind, score: 0, members }));
  const kept = new Map<string, readonly Part[]>();

  return {
    nodes,
    indexOf: id => indices.get(id),
    kinds,
    kindOf: index => kindOf[index] ?? 0,
    matching(constraints, affinities) {
      if (constraints.length === 0 && affinities.length === 0) return everywhere;
      const key = JSON.stringify([constraints, affinities]);
      const found = kept.get(key);
      if (found !== undefined) return found;
      if (kept.size >= maxKept) kept.clear();
      const parts = everywhere.flatMap(part => byScore(nodes, part, constraints, affinities));
      kept.set(key, parts);
      return parts;
    },
  };
}

/** Those of a part that meet the constraints, by how welcome they are. */
function byScore(
  nodes: readonly SchedulingNode[],
  { kind, members }: Part,
  constraints: readonly Constraint[],
  affinities: readonly Affinity[],
): Part[] {
  const grouped = new Map<number, number[]>();
  for (const index of members) {
    const attributes = nodes[index]?.attributes ?? {};
    if (unmetConstraints(constraints, attributes).length > 0) continue;
    const score = affinityScore(affinities, attributes);
    const list = grouped.get(score);
    if (list === undefined) grouped.set(score, [index]);
    else list.push(index);
  }
  return [...grouped].map(([score, list]) => ({ kind, score, members: list }));
}
