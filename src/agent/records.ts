import { join } from 'node:path';
import type { Log } from '../base/log.ts';
import { systemRandom } from '../device/dice.ts';
import type { FileOperations } from '../device/file-operations.ts';
import { isAlive, ownIdentity } from '../device/process-identity.ts';
import { sha256Hex } from '../identity/keys.ts';
import type { AccessRecord } from '../model/access.ts';
import { openAccessLog } from './access-log.ts';
import { openAuditJournal } from './audit-journal.ts';
import { type AuditTrail, defaultAuditSettings, openAuditTrail } from './audit-trail.ts';
import type { NodeClock } from './clock.ts';
import type { AgentConfig } from './config.ts';
import type { WearMeter } from './flash-wear.ts';
import type { MasterLink } from './master-link.ts';

/** What is kept of requests: in the audit for the master, and in the access log for whoever sits at the node. */
export interface Records {
  readonly audit: AuditTrail;
  /** Of a request that is over. */
  record(record: AccessRecord): void;
  /** Lines that did not find their way into the access log. */
  readonly dropped: number;
  /** Writes the rest of the access log; requests are finished, and so recorded, for longer than the rest. */
  close(): Promise<void>;
}

/** Begins this start's audit; from the abort of `signal` on, records are for `late`. */
export async function openRecords(
  parts: {
    readonly clock: NodeClock;
    readonly log: Log;
    /** The files of the data directory, as `wear` counts them. */
    readonly disk: FileOperations;
    readonly wear: WearMeter;
    readonly master: Pick<MasterLink, 'sender' | 'isUp'>;
    readonly holdMs: () => number;
    readonly late: ((record: AccessRecord) => void) | undefined;
  },
  config: Pick<AgentConfig, 'dataDir' | 'audit' | 'accessLog'>,
  signal: AbortSignal,
): Promise<Records> {
  const { clock, log, disk, wear, holdMs, late } = parts;
  const { sender, isUp } = parts.master;
  const { node, boot } = sender;
  const settings = { ...defaultAuditSettings, ...config.audit };
  const journal = await openAuditJournal(
    { disk, sha256: sha256Hex, owner: await ownIdentity(), isAlive },
    { directory: join(config.dataDir, 'audit'), node, boot, maySync: settings.sync !== 'never' },
  );
  const audit = await openAuditTrail({ journal, sender, clock, random: systemRandom, log, isUp, holdMs }, settings);
  const recording = new AbortController();
  const accessLog =
    config.accessLog &&
    (await openAccessLog(
      { clock, log, random: systemRandom },
      config.accessLog,
      recording.signal,
      wear.for('access-log'),
    ));

  return {
    audit,
    record(record) {
      // what ends when the link has been let go is for whoever takes over to tell the master
      if (signal.aborted && late !== undefined) late(record);
      else audit.record(record);
      accessLog?.record(record);
    },
    get dropped() {
      return accessLog?.dropped ?? 0;
    },
    async close() {
      recording.abort();
      await accessLog?.ended;
    },
  };
}
