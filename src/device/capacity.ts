import { createServer } from 'node:net';
import type { FirmwareProfile, Inventory } from '../model/profile.ts';
import { type Range, type Resources, rangesOf, toMilli } from '../model/resources.ts';
import type { DiskFacts } from './disk.ts';
import { listeningPorts } from './proc.ts';

export interface Capacity {
  readonly total: Resources;
  /** A sentence for each resource of which nothing is left to give. */
  readonly warnings: readonly string[];
}

/** What a node gives to tasks: what it has less what its profile keeps for the system, never below zero. */
export function capacityOf(
  inventory: Inventory,
  profile: FirmwareProfile,
  disk: DiskFacts | undefined,
  ports: readonly Range[],
): Capacity {
  const { reserve } = profile;
  const warnings: string[] = [];
  const less = (what: string, has: number, kept: number): number => {
    if (has <= kept) warnings.push(`no ${what} to give: the node has ${has}, profile ${profile.name} keeps ${kept}`);
    return toMilli(Math.max(0, has - kept));
  };
  const total: Resources = {
    scalars: {
      cpus: less('cpus', inventory.cpuCount, reserve.cpus),
      mem: less('MB of memory', inventory.memoryMb, reserve.memMb),
      disk: less('MB of disk', Math.floor(disk?.freeMb ?? 0), reserve.diskMb),
    },
    ranges: { ports },
    sets: {},
  };
  return { total, warnings };
}

/** The largest number of ports that an agent hands out. */
export const maxPorts = 4096;

/**
 * The ports of `ranges` that nobody listens to, as ranges; those in `own` (of tasks that were found running) count as
 * free. Somebody can take one a moment later: the task whose port it was then fails and is placed anew.
 */
export async function freePorts(
  ranges: readonly Range[],
  own: ReadonlySet<number> = new Set(),
  root?: string,
): Promise<Range[]> {
  const listening = listeningPorts(root);
  const free: number[] = [];
  for (const port of portsOf(ranges)) {
    const taken = listening === undefined ? !(await canListen(port)) : listening.has(port);
    if (!taken || own.has(port)) free.push(port);
  }
  return rangesOf(free);
}

function* portsOf(ranges: readonly Range[]): Generator<number> {
  let left = maxPorts;
  for (const { begin, end } of ranges) {
    for (let port = begin; port <= end && left-- > 0; port++) yield port;
  }
}

function canListen(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
