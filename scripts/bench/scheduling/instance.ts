import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Expected times of tasks on machines, as Braun et al. publish them: `etc[task * machines + machine]`. */
export interface Instance {
  readonly name: string;
  readonly tasks: number;
  readonly machines: number;
  readonly etc: Float64Array;
  /** Of the best published solution, where there is one. */
  readonly best: number | undefined;
}

/** Reads `tasks machines [0]` and then the times task by task; throws when there are not as many as the first line says. */
export function readInstance(path: string): Instance {
  const [head = '', ...rest] = readFileSync(path, 'utf8').trim().split('\n');
  const [tasks = 0, machines = 0] = head.trim().split(/\s+/).map(Number);
  const etc = Float64Array.from(rest.join(' ').trim().split(/\s+/).map(Number));
  if (!(tasks > 0 && machines > 0) || etc.length !== tasks * machines || etc.some(time => !(time >= 0))) {
    throw new Error(`${path}: expected a line "tasks machines" and ${tasks * machines} times, got ${etc.length}`);
  }
  const name = basename(path);
  return { name, tasks, machines, etc, best: bestOf(path) };
}

/** The makespan of a solution beside the instance is in the solution's name: `u_c_hihi.0_MS_7358942,8.sol`. */
function bestOf(path: string): number | undefined {
  const ends = readdirSync(dirname(path))
    .filter(name => name.startsWith(`${basename(path)}_`) && name.endsWith('.sol'))
    .map(name => Number(name.slice(name.lastIndexOf('_') + 1, -'.sol'.length).replace(',', '.')));
  return ends.length === 0 ? undefined : Math.min(...ends);
}

const corpus = join('..', 'shared', 'corpus', 'hcsp');

/** The twelve of Braun et al. (JPDC 61, 2001), where they are here. */
export function braunInstances(): string[] {
  try {
    return readdirSync(corpus)
      .filter(name => name.startsWith('u_') && name.endsWith('.0'))
      .sort()
      .map(name => join(corpus, name));
  } catch {
    return [];
  }
}
