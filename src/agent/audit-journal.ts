import { Gate } from '../base/gate.ts';
import type { FileOperations } from '../device/file-operations.ts';
import type { ProcessIdentity } from '../device/process-identity.ts';
import type { Sha256 } from '../model/audit-chain.ts';
import { adoptSegments } from './audit-adoption.ts';
import { AuditBacklog, type Missing, type Waiting } from './audit-backlog.ts';
import { AuditFiles, type CurrentSegment, type Segment } from './audit-files.ts';
import { AuditWriter } from './audit-writer.ts';

export const journalBounds = {
  /** A segment that is longer is followed by another: the unit of what is dropped, and of what is read at once. */
  segmentBytes: 256 * 1024,
  /** One of which the master has everything is followed already then, and removed. */
  doneBytes: 64 * 1024,
  /** What an agent that has handed over may still write. */
  lateBytes: 4 * 1024 * 1024,
} as const;

/**
 * The chain of this start of the agent on its disk, and what earlier ones have left there: segments, which go when the master has
 * acknowledged them. Everything happens one at a time, in order.
 */
export interface AuditJournal {
  /** Chains `lines` behind what is there and writes them, on the medium when it resolves if `sync`; rejects when they cannot be, and nothing is chained. */
  append(lines: readonly string[], sync: boolean): Promise<void>;
  /** Whatever was written goes to the medium now. */
  sync(): Promise<void>;
  /** Of all segments. */
  readonly bytes: number;
  /**
   * Forgets the oldest segment; undefined when there is none but the one that is written to. Returns what that loses: the gaps of which it
   * told, and itself. Its file goes by `sweep`.
   */
  dropOldest(): Promise<readonly Missing[] | undefined>;
  /** Removes the files of dropped and damaged segments: once the gap is written down, so that no loss goes unsaid. */
  sweep(): Promise<void>;
  /** Undefined when the master has everything; what could not be read of a segment is told by `takeDamage`. */
  peek(): Promise<Waiting | undefined>;
  takeDamage(): readonly Missing[];
  /** The master has everything of that run up to `number`; true when that is news. */
  acknowledge(number: number): Promise<boolean>;
  /** Takes over what agents before this one have left, as soon as their process is gone; returns what they may have lost. */
  adopt(): Promise<readonly Missing[]>;
  /** Another process still writes what is to be adopted, or nobody has looked yet. */
  readonly mayAdopt: boolean;
  /** Those returned by `adopt` are written down. */
  settle(): Promise<void>;
  /** From now on another agent sends and removes what is there; this one only writes. */
  handOver(): Promise<void>;
  close(): Promise<void>;
}

export interface JournalParts {
  readonly disk: FileOperations;
  readonly sha256: Sha256;
  readonly owner: ProcessIdentity;
  readonly isAlive: (owner: ProcessIdentity) => Promise<boolean>;
}

export interface JournalSettings {
  readonly directory: string;
  readonly node: string;
  readonly boot: number;
  /** False: it is left to the system when something goes to the medium. */
  readonly maySync: boolean;
}

/** Opens the journal, making its directory where needed; rejects when it cannot be written. */
export async function openAuditJournal(parts: JournalParts, settings: JournalSettings): Promise<AuditJournal> {
  const { disk, ...others } = parts;
  await disk.makeDirectory(settings.directory);
  const files = new AuditFiles(disk, settings);
  const writer = new AuditWriter({ files, ...others }, settings);
  const backlog = new AuditBacklog({ files, writer, ...others }, settings.node);
  const gate = new Gate();
  /** Of runs that ended without notice, until that is written down. */
  let unsettled: readonly Segment[] = [];
  /** Another process still writes, or nobody has looked yet. */
  let mayAdopt = true;

  /** The segment to write to. */
  async function roomy(): Promise<CurrentSegment> {
    const { current } = writer;
    if (current?.isTorn === false) {
      const limit = backlog.isDone(current) ? journalBounds.doneBytes : journalBounds.segmentBytes;
      if (current.bytes < limit) return current;
    }
    const next = await writer.turn();
    if (current !== undefined) await backlog.finish(current, next);
    return next;
  }

  async function adopt(): Promise<readonly Missing[]> {
    if (!mayAdopt) return [];
    const known = backlog.names;
    const found = (await files.list(settings.boot)).filter(({ name }) => !known.has(name));
    const { segments, open, missing, isOneWritten } = await adoptSegments(found, { files, ...others });
    mayAdopt = isOneWritten;
    unsettled = [...unsettled, ...open];
    backlog.add(segments);
    return missing;
  }

  async function settle(): Promise<void> {
    const ended = unsettled;
    unsettled = [];
    for (const segment of ended) if (backlog.has(segment)) await files.end(segment);
  }

  return {
    append: (lines, sync) =>
      gate.run(async () => {
        const current = await roomy();
        backlog.grow(current, await writer.append(current, lines, sync));
      }),
    sync: () => gate.run(() => writer.sync()),
    get bytes() {
      return backlog.bytes;
    },
    dropOldest: () => gate.run(() => backlog.dropOldest()),
    sweep: () => gate.run(() => backlog.sweep()),
    peek: () => gate.run(() => backlog.peek()),
    takeDamage: () => backlog.takeDamage(),
    acknowledge: number => gate.run(() => backlog.acknowledge(number)),
    adopt: () => gate.run(adopt),
    get mayAdopt() {
      return mayAdopt;
    },
    settle: () => gate.run(settle),
    handOver: () =>
      gate.run(async () => {
        backlog.leave();
        mayAdopt = false;
      }),
    close: () => gate.run(() => writer.close()),
  };
}
