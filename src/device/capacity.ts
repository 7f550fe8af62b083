import { createServer } from 'node:net';
import type { FirmwareProfile, Inventory } from '../model/profile.ts';
import {
  type CustomResources,
  customResources,
  noResources,
  type Range,
  type Resources,
  rangesOf,
  subtractResources,
  toMilli,
} from '../model/resources.ts';
import type { DiskFacts } from './disk.ts';
import { firstOpenPort, listeningPorts } from './proc.ts';

export interface Capacity {
  readonly total: Resources;
  /** A sentence for each resource of which nothing is left to give. */
  readonly warnings: readonly string[];
}

/**
 * What a node gives to tasks: what it has less what its profile keeps for the system, never below zero, and the resources that
 * the profile and then `own` (an operator's word for this node) give a name.
 */
export function capacityOf(
  inventory: Inventory,
  profile: FirmwareProfile,
  disk: DiskFacts | undefined,
  ranges: Resources['ranges'],
  own: CustomResources = {},
): Capacity {
  const { reserve, resources = {} } = profile;
  const warnings: string[] = [];
  const less = (what: string, has: number, kept: number): number => {
    if (has <= kept) warnings.push(`no ${what} to give: the node has ${has}, profile ${profile.name} keeps ${kept}`);
    return toMilli(Math.max(0, has - kept));
  };
  const [ofBoard, given] = [customResources(resources), customResources(own)];
  const total: Resources = {
    scalars: {
      ...ofBoard.scalars,
      ...given.scalars,
      cpus: less('cpus', inventory.cpuCount, reserve.cpus),
      mem: less('MB of memory', inventory.memoryMb, reserve.memMb),
      disk: less('MB of disk', Math.floor(disk?.freeMb ?? 0), reserve.diskMb),
    },
    ranges,
    sets: { ...ofBoard.sets, ...given.sets },
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

/** As many ranges as a resource may have, with room for what is given back to them. */
const maxRanges = 200;

/**
 * Ports that tasks may ask for by number, as ranges: all that this process may listen on, less `kept` and those that somebody else
 * listens to. Where very many do, the smallest ranges between them are left out.
 */
export function numberedPorts(kept: readonly Range[], own: ReadonlySet<number> = new Set(), root?: string): Range[] {
  const taken = [...(listeningPorts(root) ?? [])]
    .filter(port => !own.has(port))
    .map(port => ({ begin: port, end: port }));
  const ports = (ranges: readonly Range[]): Resources => ({ ...noResources, ranges: { ports: ranges } });
  const all = ports([{ begin: firstOpenPort(root), end: 65_535 }]);
  const ranges = subtractResources(all, ports([...kept, ...taken])).ranges.ports ?? [];
  if (ranges.length <= maxRanges) return [...ranges];
  const size = ({ begin, end }: Range) => end - begin;
  const largest = new Set([...ranges].sort((a, b) => size(b) - size(a)).slice(0, maxRanges));
  return ranges.filter(range => largest.has(range));
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
