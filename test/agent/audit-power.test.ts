import fc from 'fast-check';
import t, { type Test } from 'tap';
import { auditBounds } from '../../src/agent/audit-trail.ts';
import { seededRandom } from '../../src/base/random.ts';
import { type AuditBatch, type AuditGap, numbersPerRun, runOf } from '../../src/model/audit-chain.ts';
import { accessRecord } from '../fixtures/api-views.ts';
import { lastOf, startAuditNode } from '../fixtures/audit-node.ts';
import { VolatileDisk } from '../fixtures/volatile-disk.ts';

/** From one start of the agent to the cut of its power, after so many operations of its disk. */
interface Life {
  readonly steps: readonly { readonly records: number; readonly isUp: boolean; readonly isAnswered: boolean }[];
  readonly operations: number;
  readonly dice: number;
}

const lives: fc.Arbitrary<Life[]> = fc.array(
  fc.record({
    steps: fc.array(fc.record({ records: fc.nat(60), isUp: fc.boolean(), isAnswered: fc.boolean() }), { maxLength: 6 }),
    operations: fc.nat(25),
    dice: fc.nat(),
  }),
  { minLength: 1, maxLength: 4 },
);

/** What a master has heard. */
class Heard {
  readonly numbers = new Set<number>();
  readonly paths = new Set<string>();
  readonly gaps: AuditGap[] = [];

  add({ first, lines }: AuditBatch): void {
    for (const [i, line] of lines.entries()) {
      const { mark, path }: { mark?: string; path?: string } = JSON.parse(line);
      this.numbers.add(first + i);
      if (mark === 'gap') this.gaps.push(JSON.parse(line));
      if (path !== undefined) this.paths.add(path);
    }
  }

  /** Up to where a run is there without a hole that no gap tells of. */
  told(run: number): number {
    let next = run * numbersPerRun;
    for (;;) {
      const gap = this.gaps.find(({ first, last }) => first !== null && first <= next && (last ?? 0) >= next);
      if (this.numbers.has(next)) next++;
      else if (gap?.last != null) next = gap.last + 1;
      else return next;
    }
  }

  /** From where on a run may be missing. */
  openEnd(run: number): number | undefined {
    const gap = this.gaps.find(({ first, last }) => first !== null && last === null && runOf(first) === run);
    return gap?.first ?? undefined;
  }
}

/** Returns whether its start was written, and the paths of the records that were on the medium when it said so. */
async function live(
  t: Test,
  { steps, operations }: Life,
  { disk, boot, heard }: { disk: VolatileDisk; boot: number; heard: Heard },
) {
  disk.failAfter(operations);
  const kept: string[] = [];
  if (operations === 0) return { isStarted: false, kept };
  const node = await startAuditNode(t, { disk, boot });
  const isStarted = !disk.hasFailed;
  const made: string[] = [];
  for (const { records, isUp, isAnswered } of steps) {
    if (disk.hasFailed) break;
    node.link.isUp = isUp;
    for (let i = 0; i < records; i++) {
      const path = `/${boot}/${made.length}/${'x'.repeat(2_000)}`;
      made.push(path);
      node.trail.record(accessRecord({ path }));
    }
    // long enough that what was written without a link is synced
    for (const batch of await node.said(isUp ? 500 : auditBounds.syncEveryMs + 500)) {
      heard.add(batch);
      if (isAnswered) node.trail.acknowledge(lastOf(batch));
    }
    if (!isUp && !disk.hasFailed) kept.push(...made.slice(kept.length));
  }
  node.kill();
  return { isStarted, kept };
}

t.test('wherever the power is cut, what was on the medium is handed over, and all else is behind a gap', async t => {
  const property = fc.asyncProperty(lives, async all => {
    const disk = new VolatileDisk();
    const heard = new Heard();
    const ends: (Awaited<ReturnType<typeof live>> & { boot: number })[] = [];
    for (const [i, life] of all.entries()) {
      const boot = i + 1;
      ends.push({ boot, ...(await live(t, life, { disk, boot, heard })) });
      disk.restart(seededRandom(life.dice));
    }
    const last = await startAuditNode(t, { disk, boot: all.length + 1 });
    for (const batch of await last.handOverAll()) heard.add(batch);
    last.kill();
    for (const { boot, isStarted, kept } of ends) {
      const lost = kept.find(path => !heard.paths.has(path));
      if (lost !== undefined) throw new Error(`${lost.slice(0, 20)} was on the medium, and is lost`);
      if (!isStarted) continue;
      const end = heard.openEnd(boot);
      if (end === undefined) throw new Error(`nothing tells that run ${boot} was cut off`);
      if (heard.told(boot) < end)
        throw new Error(`entry ${heard.told(boot) % numbersPerRun} of run ${boot} is lost without a gap`);
    }
  });
  await t.resolves(fc.assert(property, { seed: 72, numRuns: 60 }));
});
