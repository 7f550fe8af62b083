import type { ProcessIdentity } from '../device/process-identity.ts';
import { runOf, type Sha256 } from '../model/audit-chain.ts';
import type { Missing } from './audit-backlog.ts';
import type { AuditFiles, Segment } from './audit-files.ts';
import { parseSegment } from './audit-segment.ts';

/** What agents before this one have left. */
export interface Adoption {
  readonly segments: readonly Segment[];
  /** Those of them that were not ended, which is to be done when what is missing is written down. */
  readonly open: readonly Segment[];
  readonly missing: readonly Missing[];
  /** There is one more, which another process still writes. */
  readonly isOneWritten: boolean;
}

/** Looks at the segments of earlier starts, oldest first: of a run whose newest one is open, and nobody writes it, the end is missing. */
export async function adoptSegments(
  found: readonly Segment[],
  parts: {
    readonly files: AuditFiles;
    readonly sha256: Sha256;
    readonly owner: ProcessIdentity;
    readonly isAlive: (owner: ProcessIdentity) => Promise<boolean>;
  },
): Promise<Adoption> {
  const { files, sha256, owner, isAlive } = parts;
  const segments: Segment[] = [];
  const open: Segment[] = [];
  const missing: Missing[] = [];
  let isOneWritten = false;
  for (const [i, segment] of found.entries()) {
    const next = found[i + 1];
    const isOpen = segment.name.endsWith('.open');
    const isNewest = next === undefined || runOf(next.first) !== runOf(segment.first);
    if (isOpen && isNewest) {
      const content = parseSegment(await files.read(segment), sha256);
      const writer = content?.head.owner;
      // another agent of this process has ended
      if (writer !== undefined && !isSame(writer, owner) && (await isAlive(writer))) {
        isOneWritten = true;
        continue;
      }
      const from = segment.first + (content?.entries.length ?? 0);
      segment.last = from - 1;
      missing.push({ reason: 'the agent ended without notice', first: from, last: null, count: null });
    }
    if (isOpen) open.push(segment);
    segments.push(segment);
  }
  return { segments, open, missing, isOneWritten };
}

function isSame(a: ProcessIdentity, b: ProcessIdentity): boolean {
  return a.pid === b.pid && a.boot === b.boot && a.start === b.start;
}
