import { sql, type Transaction } from 'kysely';
import { currentEpoch } from './meta.ts';
import { paced } from './paced.ts';
import type { Schema } from './schema.ts';

/** Which assignment of a node: larger epochs are newer, within an epoch larger generations. */
export interface AssignmentVersion {
  readonly node: string;
  readonly epoch: number;
  readonly generation: number;
}

/** The assignments of `nodes` change: under the epoch of now, each gets its next generation. Unknown nodes are left out. */
export async function raiseGenerations(
  tx: Transaction<Schema>,
  nodes: readonly string[],
): Promise<AssignmentVersion[]> {
  const versions: AssignmentVersion[] = [];
  const epoch = nodes.length === 0 ? 0 : await currentEpoch(tx);
  await paced(nodes, async node => {
    const raised = await tx
      .updateTable('nodes')
      .set({ epoch, generation: sql<number>`generation + 1` })
      .where('id', '=', node)
      .returning(['id as node', 'epoch', 'generation'])
      .executeTakeFirst();
    if (raised !== undefined) versions.push(raised);
  });
  return versions;
}
