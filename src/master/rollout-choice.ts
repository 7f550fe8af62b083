import { MesoliteError } from '../base/errors.ts';
import { describeDocument, type Rollout } from '../model/document.ts';
import type { RolloutSpec } from '../model/rollout.ts';
import type { DocumentRef } from '../store/documents.ts';
import { nameOfChange } from './rollout-view.ts';

/**
 * The Rollout by which a change of policies goes: the one of their namespace, or else the one of the root namespace; of several in one
 * namespace the first by name. What is pushed together goes together; throws INVALID_INPUT where that would be by two of them.
 */
export function governing(
  changes: readonly DocumentRef[],
  rollouts: readonly Rollout[],
  rootNamespace: string,
): RolloutSpec | undefined {
  const sorted = [...rollouts].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const of = (namespace: string) => sorted.find(rollout => rollout.metadata.namespace === namespace);
  let chosen: Rollout | undefined;
  for (const change of changes) {
    const rollout = of(change.namespace) ?? of(rootNamespace);
    if (rollout === undefined || rollout === chosen) continue;
    if (chosen !== undefined) {
      throw new MesoliteError(
        'INVALID_INPUT',
        `${nameOfChange(change)} goes by ${describeDocument(rollout)}, others by ${describeDocument(chosen)}: apply them one after the other, or with --canary or --at-once`,
      );
    }
    chosen = rollout;
  }
  return chosen?.spec;
}
