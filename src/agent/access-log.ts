import { type Clock, minuteMs } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import { openLineFile } from '../device/line-file.ts';
import type { AccessRecord } from '../model/access.ts';
import { type AccessLogFormat, accessLine } from '../model/access-line.ts';

export interface AccessLogSettings {
  readonly file: string;
  readonly format: AccessLogFormat;
  /** The share, 0 to 1, that is written of the requests which were allowed and went well; all others are. */
  readonly sample: number;
  /** Lines a second, at the most. */
  readonly perSecond: number;
}

/** A line for each request that is over, as far as sampling and the rate let it: for whoever sits at the node. */
export interface AccessLog {
  record(record: AccessRecord): void;
  /** Lines that the rate or a slow disk kept from the log; not those left out by sampling. */
  readonly dropped: number;
  /** Settles after the signal's abort, when all lines are written. */
  readonly ended: Promise<void>;
}

/** Opens the log's file; throws START_FAILED when it cannot be written. */
export async function openAccessLog(
  parts: { readonly clock: Clock; readonly random: Random; readonly log: Log },
  { file, format, sample, perSecond }: AccessLogSettings,
  signal: AbortSignal,
  onWritten?: (bytes: number) => void,
): Promise<AccessLog> {
  const { clock, random, log } = parts;
  const lines = await openLineFile(parts, file, undefined, onWritten);
  const bucket = new TokenBucket({ perSecond, burst: perSecond }, clock.monotonic());
  let dropped = 0;
  let told = 0;
  let toldAt = Number.NEGATIVE_INFINITY;

  function drop(): void {
    dropped++;
    if (clock.monotonic() - toldAt < minuteMs) return;
    log.warn('lines of the access log are dropped', { file, dropped: dropped - told });
    told = dropped;
    toldAt = clock.monotonic();
  }

  return {
    ended: lines.run(signal),
    get dropped() {
      return dropped;
    },
    record(record) {
      if (wentWell(record) && sample < 1 && random() >= sample) return;
      if (!bucket.take(1, clock.monotonic()) || !lines.write(accessLine(record, format))) drop();
    },
  };
}

/** Neither refused nor failed, nor of interest to a policy: what may be left out of a sample. */
export function wentWell({ verdict, status, flags, audited, shadow }: AccessRecord): boolean {
  if (audited !== undefined || shadow !== undefined) return false;
  return verdict === 'allow' && status < 500 && flags === '-';
}
