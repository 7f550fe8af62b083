import { MesoliteError } from '../base/errors.ts';
import { type TaskView, taskListSchema } from '../model/api.ts';
import { isTerminal } from '../model/task.ts';
import type { ApiClient } from './api-client.ts';

const listed = 10;

/** The id of the task that a user means: the id itself, the beginning of one, or a job that has one task, or one that has not ended. */
export async function findTask(api: ApiClient, text: string, namespace?: string): Promise<string> {
  const query = namespace === undefined ? '' : `?namespace=${encodeURIComponent(namespace)}`;
  const { tasks } = await api.get(`/v1/tasks${query}`, taskListSchema);
  const found = matching(tasks, text);
  const [first] = found;
  if (first === undefined) throw new MesoliteError('NOT_FOUND', `there is no task or job ${text}`);
  const [live, ...more] = found.filter(({ state }) => !isTerminal(state));
  if (found.length === 1) return first.id;
  if (live !== undefined && more.length === 0) return live.id;
  const ids = found.slice(0, listed).map(task => `\n  ${task.id} (${task.state})`);
  const rest = found.length > listed ? `\n  and ${found.length - listed} more` : '';
  throw new MesoliteError('CONFLICT', `${text} may be one of ${found.length} tasks:${ids.join('')}${rest}`);
}

/** The job's name goes before a beginning: `hello` means the job, not also the tasks of `hello-world`. */
function matching(tasks: readonly TaskView[], text: string): TaskView[] {
  const exact = tasks.filter(task => task.id === text);
  if (exact.length > 0) return exact;
  const ofJob = tasks.filter(task => task.job === text || `${task.namespace}/${task.job}` === text);
  return ofJob.length > 0 ? ofJob : tasks.filter(task => task.id.startsWith(text));
}
