import type { Affinity, Constraint } from '../model/job.ts';
import { affinityScore, unmetConstraints } from './feasible.ts';
import { type FetchingNode, fetchMs } from './fetching.ts';

/** A node as the scheduler sees it. */
export interface SchedulingNode extends FetchingNode {
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
  /** How long each fetches what it has not of the artifacts that were asked for. */
  readonly fetchMs: number;
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
  matching(wanted: Wanted): readonly Part[];
  /** How long the node at `index` fetches what it has not of these artifacts. */
  fetchMs(index: number, artifacts: readonly string[]): number;
}

/** What tells nodes apart for a task, beside their kind. */
export interface Wanted {
  readonly constraints: readonly Constraint[];
  readonly affinities: readonly Affinity[];
  readonly artifacts: readonly string[];
}

/** So many answers of `matching` are kept; beyond that they are found anew. */
const maxKept = 256;

/** `bytesOf` says how large an artifact is, 0 where nobody knows. */
export function makeRoster(nodes: readonly SchedulingNode[], bytesOf: (artifact: string) => number = () => 0): Roster {
  const kinds: { readonly example: SchedulingNode; readonly members: number[] }[] = [];
  let indices: ReadonlyMap<string, number> | undefined;
  const ofProfile = new Map<string, number[]>();
  const kindOf = nodes.map((node, index) => {
    const { profile, speed, slowdown = 1, unavailable } = node;
    const known = ofProfile.get(profile) ?? [];
    ofProfile.set(profile, known);
    let kind = known.find(
      each => kinds[each]?.example.speed === speed && (kinds[each]?.example.slowdown ?? 1) === slowdown,
    );
    if (kind === undefined) {
      kind = kinds.length;
      known.push(kind);
      kinds.push({ example: node, members: [] });
    }
    if (unavailable === undefined) kinds[kind]?.members.push(index);
    return kind;
  });
  const everywhere = kinds.map(({ members }, kind): Part => ({ kind, score: 0, fetchMs: 0, members }));
  const kept = new Map<string, readonly Part[]>();

  return {
    nodes,
    indexOf(id) {
      indices ??= new Map(nodes.map((node, index) => [node.id, index]));
      return indices.get(id);
    },
    kinds,
    kindOf: index => kindOf[index] ?? 0,
    matching(wanted) {
      const { constraints, affinities, artifacts } = wanted;
      if (constraints.length + affinities.length + artifacts.length === 0) return everywhere;
      const key = JSON.stringify([constraints, affinities, artifacts]);
      const found = kept.get(key);
      if (found !== undefined) return found;
      if (kept.size >= maxKept) kept.clear();
      const parts = everywhere.flatMap(part => divide(nodes, part, wanted, bytesOf));
      kept.set(key, parts);
      return parts;
    },
    fetchMs: (index, artifacts) => (artifacts.length === 0 ? 0 : fetchMs(artifacts, nodes[index] ?? {}, bytesOf)),
  };
}

/** Those of a part that meet the constraints, by how welcome they are and how long they fetch. */
function divide(
  nodes: readonly SchedulingNode[],
  { kind, members }: Part,
  { constraints, affinities, artifacts }: Wanted,
  bytesOf: (artifact: string) => number,
): Part[] {
  const parts = new Map<string | number, Part & { readonly members: number[] }>();
  for (const index of members) {
    const node = nodes[index];
    if (node === undefined || unmetConstraints(constraints, node.attributes).length > 0) continue;
    const score = affinityScore(affinities, node.attributes);
    const fetch = artifacts.length === 0 ? 0 : fetchMs(artifacts, node, bytesOf);
    const key = fetch === 0 ? score : `${score} ${fetch}`;
    const part = parts.get(key);
    if (part === undefined) parts.set(key, { kind, score, fetchMs: fetch, members: [index] });
    else part.members.push(index);
  }
  return [...parts.values()];
}
