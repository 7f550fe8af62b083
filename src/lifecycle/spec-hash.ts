import type { Sha256 } from '../model/audit-chain.ts';
import type { TaskSpec } from '../model/task.ts';

/** A spec does not change; that of each task of a node is wanted whenever one of them ends. */
const known = new WeakMap<TaskSpec, string>();

/** Names a spec: two that say the same have the same hash, in whatever order their fields came. */
export function specHash(spec: TaskSpec, sha256: Sha256): string {
  const hash = known.get(spec) ?? sha256(canonical(spec));
  known.set(spec, hash);
  return hash;
}

/** The hash of a set of tasks that birth and heartbeat carry as `held`; the order of the tasks does not matter. */
export function assignmentHash(tasks: Iterable<TaskSpec>, sha256: Sha256): string {
  const lines = [...tasks].map(task => `${task.id} ${specHash(task, sha256)}`);
  return sha256(lines.sort().join('\n'));
}

/** JSON with sorted keys and without absent fields. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([key, field]) => `${JSON.stringify(key)}:${canonical(field)}`).join(',')}}`;
}
