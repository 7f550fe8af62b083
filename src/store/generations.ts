import { sql, type Transaction } from 'kysely';
import { currentEpoch, raiseEpoch } from './meta.ts';
import { paced } from './paced.ts';
import type { Schema } from './schema.ts';

/** Which assignment of a node: larger epochs are newer, within an epoch larger generations, which never begin anew. */
export interface AssignmentVersion {
  readonly node: string;
  readonly epoch: number;
  readonly generation: number;
}

/** Epochs of each node that are remembered; what is older is told by its generation alone. */
const keptEpochs = 32;

/** The assignments of `nodes` change: under the epoch of now, each gets its next generation. Unknown nodes are left out. */
export async function raiseGenerations(
  tx: Transaction<Schema>,
  nodes: readonly string[],
): Promise<AssignmentVersion[]> {
  const versions: AssignmentVersion[] = [];
  const epoch = nodes.length === 0 ? 0 : await currentEpoch(tx);
  await paced(nodes, async node => {
    await leaveEpoch(tx, node, epoch);
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

/** Was this version made here, and not by another master, or by this one after its database was copied? */
export async function isKnown(
  tx: Transaction<Schema>,
  { node, epoch, generation }: AssignmentVersion,
): Promise<boolean> {
  if (epoch === 0) return true;
  const now = await tx.selectFrom('nodes').select(['epoch', 'generation']).where('id', '=', node).executeTakeFirst();
  const past = await tx
    .selectFrom('pastGenerations')
    .select(['epoch', 'generation'])
    .where('node', '=', node)
    .orderBy('epoch')
    .execute();
  const all = now === undefined ? past : [...past, now];
  const [oldest] = all;
  const last = all.find(version => version.epoch === epoch) ?? (oldest && epoch < oldest.epoch ? oldest : undefined);
  return last !== undefined && generation <= last.generation;
}

/** From now on `version` is known, and what is assigned to its node next is newer. */
export async function adopt(tx: Transaction<Schema>, { node, epoch, generation }: AssignmentVersion): Promise<void> {
  if ((await currentEpoch(tx)) <= epoch) await raiseEpoch(tx, epoch + 1);
  await remember(tx, { node, epoch, generation });
  await tx
    .updateTable('nodes')
    .set({ generation })
    .where('id', '=', node)
    .where('generation', '<', generation)
    .execute();
}

/** A node that gets its first generation under `epoch` has its last of the one before remembered. */
async function leaveEpoch(tx: Transaction<Schema>, node: string, epoch: number): Promise<void> {
  const before = await tx
    .selectFrom('nodes')
    .select(['id as node', 'epoch', 'generation'])
    .where('id', '=', node)
    .where('epoch', '!=', epoch)
    .where('generation', '>', 0)
    .executeTakeFirst();
  if (before !== undefined) await remember(tx, before);
}

async function remember(tx: Transaction<Schema>, version: AssignmentVersion): Promise<void> {
  const { node, generation } = version;
  await tx
    .insertInto('pastGenerations')
    .values(version)
    .onConflict(on => on.columns(['node', 'epoch']).doUpdateSet({ generation }))
    .execute();
  const [first] = await tx
    .selectFrom('pastGenerations')
    .select('epoch')
    .where('node', '=', node)
    .orderBy('epoch', 'desc')
    .offset(keptEpochs)
    .limit(1)
    .execute();
  if (first === undefined) return;
  await tx.deleteFrom('pastGenerations').where('node', '=', node).where('epoch', '<=', first.epoch).execute();
}
