/** Which nodes a step of a rollout adds: those named, those with all of the labels, or a share of all. */
export interface Ring {
  readonly nodes?: readonly string[] | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly percent?: number | undefined;
}

/** A node as far as rings are made of it. */
export interface RingNode {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly reachable: boolean;
  /** Lower ones come first into shares; the same node always has the same. */
  readonly rank: string;
}

/**
 * The nodes that `ring` wants beside those that are in already. A share is filled up, with nodes that can be reached first, and is never
 * less than one node; who is in stays in, whoever comes or goes.
 */
export function addedBy(ring: Ring, nodes: readonly RingNode[], members: ReadonlySet<string>): string[] {
  const outside = nodes.filter(node => !members.has(node.id));
  if (ring.percent === undefined) return outside.filter(node => isMeant(ring, node)).map(node => node.id);
  const present = nodes.length - outside.length;
  const wanted = Math.ceil((nodes.length * ring.percent) / 100) - present;
  const inOrder = outside.sort((a, b) => Number(b.reachable) - Number(a.reachable) || (a.rank < b.rank ? -1 : 1));
  return inOrder.slice(0, Math.max(0, wanted)).map(node => node.id);
}

function isMeant({ nodes, labels }: Ring, node: RingNode): boolean {
  if (nodes !== undefined) return nodes.includes(node.id);
  return Object.entries(labels ?? {}).every(
    ([name, value]) => Object.hasOwn(node.labels, name) && node.labels[name] === value,
  );
}

/** A ring in a few words, for people. */
export function describeRing({ nodes = [], labels, percent }: Ring): string {
  if (percent !== undefined) return percent === 100 ? 'all nodes' : `${percent}% of the nodes`;
  if (labels !== undefined) {
    return `nodes with ${Object.entries(labels)
      .map(([name, value]) => `${name}=${value}`)
      .join(', ')}`;
  }
  const more = nodes.length > 3 ? ` and ${nodes.length - 3} more` : '';
  return `${nodes.slice(0, 3).join(', ')}${more}`;
}
