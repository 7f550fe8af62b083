import { basename, dirname } from 'node:path';
import { ByteMeter } from '../base/byte-meter.ts';
import { type Clock, dayMs, hourMs, minuteMs } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { FileOperations } from '../device/file-operations.ts';
import type { Processes } from '../device/process.ts';
import { countedOperations } from '../device/wear.ts';
import type { FirmwareProfile } from '../model/profile.ts';
import { isOverBudget, mostOf, printMegabytes, type Spent, sumOf } from '../model/spent.ts';
import { certificateFilePrefix } from './certificates.ts';

/** What an agent writes for: `tasks` are the wanted set and who runs it, `state` what it must know of itself after a restart. */
export const wearPurposes = [
  'identity',
  'policy',
  'state',
  'tasks',
  'statuses',
  'task-logs',
  'artifacts',
  'versions',
  'audit',
  'access-log',
] as const;
export type WearPurpose = (typeof wearPurposes)[number];

/** What it takes to start a task: its directories, the two files of its shim, and those of its output. */
const bytesPerRun = 6 * 4096;

const ofFile: Readonly<Record<string, WearPurpose>> = {
  identity: 'identity',
  joining: 'identity',
  trust: 'identity',
  policy: 'policy',
  profiles: 'policy',
  'desired-tasks': 'tasks',
};

/** By the name of a file in the data directory, whole or on its way to be. */
function purposeOf(path: string): WearPurpose {
  const name = basename(path).replace(/~.*$/, '');
  if (name.startsWith(certificateFilePrefix)) return 'identity';
  if (name.startsWith('ended-')) return 'statuses';
  return basename(dirname(path)) === 'audit' ? 'audit' : (ofFile[name] ?? 'state');
}

/** Counts what this agent writes, by what for. What is in memory (/run, /dev/shm) does not count. */
export class WearMeter {
  readonly #meter = new ByteMeter<WearPurpose>();
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #startedAt: number;

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock;
    this.#startedAt = clock.monotonic();
  }

  /** Since the start of the agent. */
  get totals(): ReadonlyMap<WearPurpose, number> {
    return this.#meter.totals;
  }

  wrote(purpose: WearPurpose, bytes: number): void {
    this.#meter.add(purpose, bytes, this.#clock.monotonic());
  }

  /** For one who says how much. */
  for(purpose: WearPurpose): (bytes: number) => void {
    return bytes => this.wrote(purpose, bytes);
  }

  /** The data directory's files, counted by their names. */
  counting(disk: FileOperations): FileOperations {
    return countedOperations(disk, (path, bytes) => this.wrote(purposeOf(path), bytes));
  }

  /** Each start is counted with what it takes. */
  countingRuns(processes: Processes): Processes {
    return {
      ...processes,
      start: (...request) => {
        this.wrote('tasks', bytesPerRun);
        return processes.start(...request);
      },
    };
  }

  /** How much of a day `lastDay` covers. */
  get sinceMs(): number {
    return Math.min(dayMs, this.#clock.monotonic() - this.#startedAt);
  }

  lastDay(): Record<string, number> {
    return this.#meter.over(dayMs, this.#clock.monotonic());
  }
}

/** Holds what is written against what the profile allows. */
export interface WearWatch {
  spent(): Spent['disk'];
  warnings(): string[];
  run(signal: AbortSignal): Promise<void>;
}

/** Later than this it need not be known that too much is written. */
const everyMs = 10 * minuteMs;

export function makeWearWatch(
  parts: {
    readonly meter: WearMeter;
    readonly clock: Clock;
    readonly log: Log;
    /** The master is to hear of it. */
    readonly onChanged: () => void;
  },
  profile: () => Pick<FirmwareProfile, 'name' | 'flashWear'>,
): WearWatch {
  const { meter, clock, log, onChanged } = parts;
  let isOver = false;

  function spent(): Spent['disk'] {
    const { sinceMs } = meter;
    const byPurpose = meter.lastDay();
    const { flashWear } = profile();
    if (flashWear === undefined) return { byPurpose, sinceMs };
    // less than an hour says little of a day
    const perDay = (sumOf(byPurpose) * dayMs) / Math.max(hourMs, sinceMs);
    const lifePerYear = Number(((365 * perDay) / (flashWear.enduranceGb * 1e9)).toPrecision(2));
    return { byPurpose, sinceMs, budgetBytes: flashWear.bytesPerDay, lifePerYear };
  }

  function sentence({ byPurpose, budgetBytes = 0 }: Spent['disk']): string {
    const [most = '', bytes = 0] = mostOf(byPurpose);
    const wrote = `${printMegabytes(sumOf(byPurpose))} were written to the disk in 24 hours, ${printMegabytes(bytes)} of it ${most}`;
    return `${wrote}; profile ${profile().name} allows ${printMegabytes(budgetBytes)}: ${advice[most] ?? usualAdvice}`;
  }

  return {
    spent,
    warnings: () => (isOver ? [sentence(spent())] : []),
    async run(signal) {
      while (await clock.sleep(everyMs, signal, 'loop')) {
        const now = spent();
        if (isOverBudget(now) === isOver) continue;
        isOver = !isOver;
        if (isOver) log.warn('more is written to the disk than its medium should take', { why: sentence(now) });
        onChanged();
      }
    },
  };
}

const usualAdvice = 'see what changes so often, or put the data directory on a disk that takes more';
const advice: Readonly<Record<string, string>> = {
  'task-logs': 'let tasks say less, or lower --task-log-rate',
  artifacts: 'let tasks start less often, or put the data directory on a disk that takes more',
  audit: 'lower --audit-allowed',
  'access-log': 'lower --access-log-sample or --access-log-rate, or write it to /run',
  statuses: 'a task ends again and again: see `mesolite get tasks`',
};
