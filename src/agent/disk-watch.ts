import { type Clock, secondMs } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { readDisk } from '../device/disk.ts';
import type { Files } from '../device/files.ts';

/** Given up when the disk is full: as much as what an agent writes while it is. */
export const reserveBytes = 1024 * 1024;

/** Below the first the disk counts as full, from the second on no more. */
const fullMb = 16;
const roomMb = 32;
const everyMs = 10 * secondMs;

/** Sees a disk fill up, and says so before it hurts. */
export interface DiskWatch {
  warnings(): string[];
  run(signal: AbortSignal): Promise<void>;
}

export function makeDiskWatch(
  parts: {
    readonly clock: Clock;
    readonly log: Log;
    readonly files: Files;
    /** The master is to hear of it. */
    readonly onChanged: () => void;
  },
  { dataDir }: { readonly dataDir: string },
): DiskWatch {
  const { clock, log, files, onChanged } = parts;
  let freeMb: number | undefined;

  async function look(): Promise<void> {
    const now = (await readDisk(dataDir))?.freeMb ?? roomMb;
    if (freeMb === undefined ? now >= fullMb : now < roomMb) return;
    freeMb = freeMb === undefined ? now : undefined;
    if (freeMb === undefined) log.info('there is room on the disk again', { freeMb: Math.round(now) });
    else
      log.warn('the disk is full: statuses are kept by what was set aside, other things may be lost', {
        freeMb: Math.round(now),
      });
    onChanged();
  }

  return {
    warnings: () =>
      freeMb === undefined
        ? []
        : [
            `the disk of ${dataDir} is full (${freeMb.toFixed(1)} MB were free): remove what is not needed, and give tasks a resources.disk`,
          ],
    async run(signal) {
      do {
        await look();
        if (freeMb === undefined) await files.keepReserve();
      } while (await clock.sleep(everyMs, signal, 'loop'));
    },
  };
}
