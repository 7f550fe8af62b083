import { nodePorts, type Resources, rangesOf, takeFromRanges } from '../model/resources.ts';
import type { PendingTask } from './pending.ts';

/** What a task takes of what is free, with the numbers of the ports that were chosen for it; undefined when there are too few ports. */
export function takeFor(
  task: Pick<PendingTask, 'needs' | 'portCount' | 'nodePorts'>,
  free: Resources,
): { readonly resources: Resources; readonly ports: readonly number[] } | undefined {
  const ports = takeFromRanges(free.ranges.ports ?? [], task.portCount);
  if (ports === undefined) return undefined;
  const numbered = task.nodePorts ?? [];
  const ranges = {
    ...(ports.length > 0 && { ports: rangesOf(ports) }),
    ...(numbered.length > 0 && { [nodePorts]: rangesOf(numbered) }),
  };
  return { resources: { ...task.needs, ranges }, ports };
}
