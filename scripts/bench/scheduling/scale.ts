import { noResources, type Resources } from '../../../src/model/resources.ts';
import { noEstimates } from '../../../src/scheduling/estimates.ts';
import { applyEvents, emptyLedger } from '../../../src/scheduling/ledger.ts';
import type { PendingTask } from '../../../src/scheduling/pending.ts';
import { planRound } from '../../../src/scheduling/plan.ts';
import { makeRoster, type SchedulingNode } from '../../../src/scheduling/roster.ts';
import { makeScheduler } from '../../../src/scheduling/scheduler.ts';
import type { Row } from '../table.ts';
import { cpuMs } from './braun.ts';

const nodeCount = 10_000;
/** Rounds that count, after as many that warm up: a master plans for months. */
const rounds = { few: 15, many: 3 };
const profiles = ['pi-zero-2w', 'pi-3', 'pi-4', 'pi-5', 'n100'];

const total: Resources = {
  scalars: { cpus: 4000, mem: 3_500_000, disk: 16_000_000 },
  ranges: { ports: [{ begin: 20_000, end: 20_999 }] },
  sets: {},
};

/** Twenty jobs of different needs and lengths, some with a port and some for boards of one kind. */
function task(index: number): PendingTask {
  const job = index % 20;
  return {
    id: `job-${job}.default.${index}`,
    job: `job-${job}`,
    namespace: 'default',
    type: 'batch',
    class: `default/job-${job}`,
    priority: [20, 50, 80][job % 3] ?? 50,
    needs: { scalars: { cpus: [100, 250, 500, 1000][job % 4] ?? 100, mem: 64_000 }, sets: {} },
    portCount: job % 5 === 0 ? 1 : 0,
    constraints: job % 7 === 0 ? [{ attribute: 'profile', operator: 'notIn', values: ['pi-zero-2w'] }] : [],
    strategy: job === 19 ? 'spread' : 'completionTime',
    expectedMs: (job + 1) * 5_000,
    submittedAt: 0,
    order: index,
  };
}

/** CPU of one round over 10,000 nodes by how many tasks wait, in microseconds a task beyond what the nodes alone cost. */
export function scaleRows(): Row[] {
  const nodes: SchedulingNode[] = Array.from({ length: nodeCount }, (_, i) => {
    const profile = profiles[i % profiles.length] ?? '';
    return { id: `node-${i}`, hostname: `node-${i}`, attributes: { profile }, profile, speed: 1 + (i % 5) / 2 };
  });
  const { ledger } = applyEvents(
    emptyLedger,
    nodes.map(({ id: node }) => ({ type: 'NodeRegistered', node, total: { ...noResources, ...total } })),
  );
  const scheduler = makeScheduler();
  const perTask = (count: number, rounds: number) => {
    const pending = Array.from({ length: count }, (_, i) => task(i));
    const input = {
      round: 'r',
      now: 0,
      ledger,
      running: new Map(),
      estimates: noEstimates,
      policies: new Map(),
    };
    const times = Array.from({ length: 2 * rounds }, () => {
      const begin = cpuMs();
      // a node has changed since the last round, as is usual in a fleet of that size
      const { launches, waiting } = planRound({ ...input, roster: makeRoster(nodes), pending }, scheduler);
      if (launches.length + waiting.length !== count) throw new Error('a task was not answered');
      return cpuMs() - begin;
    });
    return ((times.slice(rounds).sort((a, b) => a - b)[rounds >> 1] ?? 0) * 1000) / count;
  };
  const [few, many] = [perTask(1_000, rounds.few), perTask(100_000, rounds.many)];
  return [
    {
      case: '1,000 tasks on 10,000 nodes, CPU a task',
      value: few,
      unit: 'µs',
      peer: 'goal',
      peerValue: 100,
      ratio: 100 / few,
      goal: '<= 100 µs',
      met: few <= 100,
    },
    {
      case: '100,000 tasks on 10,000 nodes, CPU a task',
      value: many,
      unit: 'µs',
      peer: 'with 1,000 tasks',
      peerValue: few,
      ratio: few / many,
      goal: '<= 100 µs, <= 2x',
      met: many <= 100 && many <= 2 * few,
    },
  ];
}
