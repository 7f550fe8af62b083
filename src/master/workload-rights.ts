import type { SpiffeId } from '../model/identity.ts';
import type { Assignments } from '../store/assignments.ts';

/** Has this node a task of that workload? What it may have a certificate of. */
export type RunsWorkload = (node: string, id: SpiffeId & { readonly kind: 'workload' }) => Promise<boolean>;

export function makeRunsWorkload({ assignments }: { readonly assignments: Assignments }): RunsWorkload {
  return async (node, { namespace, serviceAccount }) => {
    const assignment = await assignments.of(node);
    return assignment?.tasks.some(t => t.namespace === namespace && t.serviceAccount === serviceAccount) === true;
  };
}
