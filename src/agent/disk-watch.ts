import { type Clock, secondMs } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type DiskFacts, readDisk as readRealDisk } from '../device/disk.ts';
import type { Files } from '../device/files.ts';

/** Given up when the disk is full: as much as what an agent writes while it is. */
export const reserveBytes = 1024 * 1024;

/** Below the first the disk counts as full, from the second on no more. */
const fullMb = 16;
const roomMb = 32;
/** On a small disk, which never has so much to give, what is kept for convenience goes from less on. */
const roomShare = 1 / 16;
const everyMs = 10 * secondMs;
const bytesPerMb = 1024 * 1024;

/** Sees a disk fill up, says so before it hurts, and has go what is kept for convenience alone. */
export interface DiskWatch {
  warnings(): string[];
  /** `makeRoom` is called while the disk is full, with how many bytes are missing; it returns how many it gave. */
  whenFull(makeRoom: (bytes: number) => Promise<number>): void;
  run(signal: AbortSignal): Promise<void>;
}

export function makeDiskWatch(
  parts: {
    readonly clock: Clock;
    readonly log: Log;
    readonly files: Pick<Files, 'keepReserve'>;
    /** The master is to hear of it. */
    readonly onChanged: () => void;
    readonly readDisk?: (directory: string) => DiskFacts | undefined;
  },
  { dataDir }: { readonly dataDir: string },
): DiskWatch {
  const { clock, log, files, onChanged, readDisk = readRealDisk } = parts;
  let freeMb: number | undefined;
  let makeRoom = async (_: number) => 0;

  async function look(): Promise<void> {
    const { freeMb: now, usedMb } = readDisk(dataDir) ?? { freeMb: roomMb, usedMb: 0 };
    if (freeMb === undefined ? now < fullMb : now >= roomMb) {
      freeMb = freeMb === undefined ? now : undefined;
      if (freeMb === undefined) log.info('there is room on the disk again', { freeMb: Math.round(now) });
      else
        log.warn('the disk is full: statuses are kept by what was set aside, other things may be lost', {
          freeMb: Math.round(now),
        });
      onChanged();
    }
    if (freeMb === undefined) await files.keepReserve();
    else await giveWay(Math.min(roomMb, (usedMb + now) * roomShare) - now);
  }

  async function giveWay(missingMb: number): Promise<void> {
    if (missingMb <= 0) return;
    const given = await makeRoom(Math.ceil(missingMb * bytesPerMb));
    if (given > 0)
      log.warn('artifacts that no task needs, and output of ended tasks, made room', { mb: given / bytesPerMb });
  }

  return {
    warnings: () =>
      freeMb === undefined
        ? []
        : [
            `the disk of ${dataDir} is full (${freeMb.toFixed(1)} MB were free): remove what is not needed, and give tasks a resources.disk`,
          ],
    whenFull(task) {
      makeRoom = task;
    },
    async run(signal) {
      do {
        await look().catch(error => log.error('the disk could not be looked after', { reason: messageOf(error) }));
      } while (await clock.sleep(everyMs, signal, 'loop'));
    },
  };
}
