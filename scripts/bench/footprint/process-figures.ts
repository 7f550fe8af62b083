/** What one process takes of its machine, as the kernel tells it. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpuSeconds } from '../proxy/processes.ts';

export interface Memory {
  readonly residentMb: number;
  /** What no file could give again. */
  readonly anonymousMb: number;
}

export function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/status`, 'latin1');
  const mb = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) / 1024;
  return { residentMb: mb('VmRSS'), anonymousMb: mb('RssAnon') };
}

/** What a process has used since it began. */
export interface Spent {
  readonly cpuSeconds: number;
  /** Caused to be written to a disk, proc_pid_io(5). */
  readonly writtenBytes: number;
  /** On its connections to one port: what TCP carried both ways. */
  readonly carriedBytes: number;
  /** The same with the headers of TCP and IP of each segment, empty acknowledgements too. */
  readonly wireBytes: number;
}

/** IPv4 20, TCP 20, and 12 for the timestamps that Linux adds. */
const headerBytes = 52;

/** `port`: where its connections go that are counted. NaN for those without `ss`. */
export function spentBy(pid: number, port: number): Spent {
  const io = readFileSync(`/proc/${pid}/io`, 'latin1');
  const sockets = socketsOf(pid, port);
  const sum = (name: string) =>
    [...sockets.matchAll(new RegExp(`\\b${name}:(\\d+)`, 'g'))].reduce((sum, [, count]) => sum + Number(count), 0);
  const carriedBytes = sockets === '' ? Number.NaN : sum('bytes_sent') + sum('bytes_received');
  return {
    cpuSeconds: cpuSeconds(pid),
    writtenBytes: Number(/^write_bytes: (\d+)/m.exec(io)?.[1]),
    carriedBytes,
    wireBytes: carriedBytes + headerBytes * (sum('segs_out') + sum('segs_in')),
  };
}

function socketsOf(pid: number, port: number): string {
  try {
    const all = execFileSync('ss', ['-tinHOp', 'state', 'established', `dport = :${port}`], { encoding: 'latin1' });
    return all
      .split('\n')
      .filter(line => line.includes(`pid=${pid},`))
      .join('\n');
  } catch {
    return '';
  }
}

/** A process at rest. */
export interface Steady extends Memory {
  /** Share of a core. */
  readonly cpu: number;
  readonly writtenPerHour: number;
  readonly carriedPerMinute: number;
  readonly wirePerMinute: number;
}

const sampleMs = 5_000;

/** Looks at processes at the same time for so long; memory is the median of the samples. */
export async function measureSteady(
  processes: ReadonlyMap<string, { readonly pid: number; readonly port: number }>,
  minutes: number,
): Promise<ReadonlyMap<string, Steady>> {
  const begunAt = performance.now();
  const before = new Map([...processes].map(([name, { pid, port }]) => [name, spentBy(pid, port)]));
  const samples = new Map([...processes].map(([name]) => [name, [] as Memory[]]));
  do {
    await new Promise(resolve => setTimeout(resolve, Math.min(sampleMs, minutes * 60_000)));
    for (const [name, { pid }] of processes) samples.get(name)?.push(memoryOf(pid));
  } while (performance.now() - begunAt < minutes * 60_000);
  const seconds = (performance.now() - begunAt) / 1000;
  return new Map(
    [...processes].map(([name, { pid, port }]) => {
      const now = spentBy(pid, port);
      const since = (key: keyof Spent) => (now[key] - (before.get(name)?.[key] ?? 0)) / seconds;
      const memory = samples.get(name) ?? [];
      return [
        name,
        {
          residentMb: median(memory.map(({ residentMb }) => residentMb)),
          anonymousMb: median(memory.map(({ anonymousMb }) => anonymousMb)),
          cpu: since('cpuSeconds'),
          writtenPerHour: 3600 * since('writtenBytes'),
          carriedPerMinute: 60 * since('carriedBytes'),
          wirePerMinute: 60 * since('wireBytes'),
        },
      ];
    }),
  );
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
