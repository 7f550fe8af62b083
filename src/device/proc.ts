import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { numberOf, textOf } from './kernel-files.ts';

/** Cumulative CPU time of all cores since boot, in ticks. */
export interface CpuTimes {
  readonly busy: number;
  readonly total: number;
}

export interface MemoryFacts {
  readonly totalMb: number;
  readonly availableMb: number;
}

/** The files of /proc that are read at each sample, held open: a read at offset 0 makes the kernel write them anew. */
export class ProcReader {
  readonly #stat: number;
  readonly #meminfo: number;
  readonly #loadavg: number;
  readonly #buffer = Buffer.alloc(8192);

  /** Throws when the system has no such files. */
  constructor(root = '/') {
    const open = (name: string) => openSync(join(root, 'proc', name), 'r');
    const opened: number[] = [];
    try {
      for (const name of ['stat', 'meminfo', 'loadavg']) opened.push(open(name));
    } catch (cause) {
      for (const fd of opened) closeSync(fd);
      throw cause;
    }
    [this.#stat = -1, this.#meminfo = -1, this.#loadavg = -1] = opened;
  }

  cpuTimes(): CpuTimes | undefined {
    return parseCpuTimes(this.#read(this.#stat));
  }

  memory(): MemoryFacts | undefined {
    return parseMemory(this.#read(this.#meminfo));
  }

  load1(): number {
    const load = Number.parseFloat(this.#read(this.#loadavg));
    return Number.isFinite(load) && load >= 0 ? load : 0;
  }

  close(): void {
    for (const fd of [this.#stat, this.#meminfo, this.#loadavg]) closeSync(fd);
  }

  // synchronous on purpose: /proc answers from memory within microseconds
  #read(fd: number): string {
    return this.#buffer.toString('latin1', 0, readSync(fd, this.#buffer, 0, this.#buffer.length, 0));
  }
}

/** The first line of /proc/stat (proc_stat(5)): guest time is in user time already, waiting for IO is not busy. */
export function parseCpuTimes(text: string): CpuTimes | undefined {
  const match = /^cpu +([\d ]+)/.exec(text);
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] = (match?.[1] ?? '')
    .split(' ')
    .map(Number);
  const busy = user + nice + system + irq + softirq + steal;
  const total = busy + idle + iowait;
  return match === null || !Number.isFinite(total) ? undefined : { busy, total };
}

/** The busy share between two samples, 0 to 1. */
export function cpuShare(before: CpuTimes, after: CpuTimes): number {
  const total = after.total - before.total;
  return total <= 0 ? 0 : Math.min(1, Math.max(0, (after.busy - before.busy) / total));
}

/** /proc/meminfo; kernels before 3.14 have no MemAvailable, there it is what is free or cached. */
export function parseMemory(text: string): MemoryFacts | undefined {
  const kb = (name: string) => numberOf(text, name);
  const total = kb('MemTotal');
  if (total === undefined || total === 0) return undefined;
  const available = kb('MemAvailable') ?? (kb('MemFree') ?? 0) + (kb('Buffers') ?? 0) + (kb('Cached') ?? 0);
  return { totalMb: total / 1024, availableMb: Math.min(total, available) / 1024 };
}

/** The local ports that are listened to, of both address families (/proc/net/tcp, state 0A); undefined without /proc. */
export function listeningPorts(root = '/'): ReadonlySet<number> | undefined {
  const ports = new Set<number>();
  let seen = false;
  for (const name of ['tcp', 'tcp6']) {
    let text: string;
    try {
      text = readFileSync(join(root, 'proc/net', name), 'latin1');
    } catch {
      continue;
    }
    seen = true;
    for (const [, port] of text.matchAll(/^ *\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} 0A /gm)) {
      ports.add(Number.parseInt(port ?? '0', 16));
    }
  }
  return seen ? ports : undefined;
}

/** The lowest port that this process may listen on: below 1024 it takes a right, unless the system says otherwise. */
export function firstOpenPort(root = '/'): number {
  const [, capabilities = '0'] = /^CapEff:\t([0-9a-f]+)$/m.exec(textOf(join(root, 'proc/self/status'))) ?? [];
  const bindService = 1n << 10n;
  if ((BigInt(`0x${capabilities}`) & bindService) !== 0n) return 1;
  const first = Number.parseInt(textOf(join(root, 'proc/sys/net/ipv4/ip_unprivileged_port_start')), 10);
  return Number.isNaN(first) ? 1024 : Math.max(1, first);
}
