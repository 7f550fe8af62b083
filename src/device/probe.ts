import type { Clock } from '../base/clock.ts';
import type { Usage } from '../model/profile.ts';
import { type DiskFacts, readDisk } from './disk.ts';
import { cpuShare, ProcReader } from './proc.ts';
import { findThermal } from './thermal.ts';

export interface ProbeSettings {
  /** The disk that counts is the one of this directory. */
  readonly dataDirectory: string;
  /** How long one look at the disk serves, and one for what tells the temperature. */
  readonly diskSampleMs: number;
  /** Where the system's files are; another one than `/` shows another board. */
  readonly root?: string;
}

/** Samples what the node uses. */
export interface Probe {
  /** What is in use; the share of CPU is over the time since the sample before, at first since the probe was opened. */
  sample(): Promise<Usage>;
  close(): void;
}

/** What changes from moment to moment. */
interface Source {
  sample(): Promise<Pick<Usage, 'cpu' | 'memUsedMb' | 'load1'>>;
  close(): void;
}

/** Begins to watch this node: through /proc with descriptors held open, or through `systeminformation` where there is none. */
export function openProbe({ clock }: { readonly clock: Clock }, settings: ProbeSettings): Probe {
  const { dataDirectory, diskSampleMs, root } = settings;
  const source = openProcSource(root) ?? portableSource;
  let disk: DiskFacts = { usedMb: 0, freeMb: 0 };
  let thermal = findThermal(root);
  let lookAgainAt = Number.NEGATIVE_INFINITY;

  return {
    async sample() {
      if (clock.monotonic() >= lookAgainAt) {
        lookAgainAt = clock.monotonic() + diskSampleMs;
        disk = readDisk(dataDirectory) ?? disk;
        thermal = findThermal(root);
      }
      const { cpu, memUsedMb, load1 } = await source.sample();
      const temperatureC = thermal.temperatureC();
      const throttled = thermal.isThrottled();
      return {
        cpu: round(cpu, 3),
        memUsedMb: Math.round(memUsedMb),
        diskUsedMb: Math.round(disk.usedMb),
        // not /proc/self/statm: that counts pages, and a Pi 5 has pages of 16 KiB
        agentRssMb: round(process.memoryUsage.rss() / 1_048_576, 1),
        load1,
        ...(temperatureC === undefined ? {} : { temperatureC: round(temperatureC, 1) }),
        ...(throttled === undefined ? {} : { throttled: Number(throttled) }),
      };
    },
    close: () => source.close(),
  };
}

function openProcSource(root?: string): Source | undefined {
  let reader: ProcReader;
  try {
    reader = new ProcReader(root);
  } catch {
    return undefined;
  }
  let before = reader.cpuTimes();
  return {
    async sample() {
      const after = reader.cpuTimes();
      const cpu = before === undefined || after === undefined ? 0 : cpuShare(before, after);
      before = after;
      const memory = reader.memory();
      return { cpu, memUsedMb: memory === undefined ? 0 : memory.totalMb - memory.availableMb, load1: reader.load1() };
    },
    close: () => reader.close(),
  };
}

const portableSource: Source = {
  async sample() {
    const { default: si } = await import('systeminformation');
    const [load, memory] = await Promise.all([si.currentLoad(), si.mem()]);
    return {
      cpu: Math.min(1, Math.max(0, load.currentLoad / 100)),
      memUsedMb: (memory.total - memory.available) / 1_048_576,
      load1: load.avgLoad,
    };
  },
  close() {},
};

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
