/** What the choice of an endpoint costs: each way of balancing beside a bare draw, and the building of hash tables. `npm run bench:balance`. */
import { type Balancing, makeBalancer } from '../../src/traffic/balance.ts';
import type { Candidate } from '../../src/traffic/candidate.ts';
import { printRows, type Row } from './table.ts';

const rounds = 5;
const choices = 300_000;

const hosts = (count: number, weightOf: (i: number) => number): Candidate[] =>
  Array.from({ length: count }, (_, i) => ({
    key: `10.0.${i >> 8}.${i & 255} 15008 ${i}.web.default.mesh`,
    weight: weightOf(i),
    active: i % 3,
    available: true,
    joinedAt: 0,
  }));

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
}

/** Nanoseconds for one choice, of each round the fastest way first warmed up. */
function nanoseconds(choose: (i: number) => number): number {
  let sum = 0;
  const times = Array.from({ length: rounds + 1 }, () => {
    const start = process.hrtime.bigint();
    for (let i = 0; i < choices; i++) sum += choose(i);
    return Number(process.hrtime.bigint() - start) / choices;
  });
  if (!Number.isFinite(sum)) throw new Error('nothing was chosen');
  return median(times.slice(1));
}

const kinds: readonly Balancing[] = [
  { kind: 'ROUND_ROBIN' },
  { kind: 'LEAST_REQUEST' },
  { kind: 'RANDOM' },
  { kind: 'RING_HASH', minimumSize: 1024 },
  { kind: 'MAGLEV', tableSize: 65_537 },
];

const rows: Row[] = [];
for (const count of [3, 100]) {
  for (const weights of ['equal', 'different'] as const) {
    const list = hosts(count, i => (weights === 'equal' ? 100 : 25 + (i % 4) * 25));
    const peerValue = nanoseconds(() => Math.floor(Math.random() * list.length));
    for (const balancing of kinds) {
      const balancer = makeBalancer(balancing, list, Math.random);
      const value = nanoseconds(i => balancer.pick(1e9, Math.imul(i, 0x9e3779b1) >>> 0));
      rows.push({
        case: `${balancing.kind}, ${count} endpoints of ${weights} weight`,
        value,
        unit: 'ns',
        peer: 'a bare draw',
        peerValue,
        ratio: peerValue / value,
        goal: '<= 1000 ns',
        met: value <= 1000,
      });
    }
  }
}
/** One heavy endpoint among the most that a service may have is the dearest table. */
const tables = [
  { of: '100 endpoints', list: hosts(100, () => 100), goalMs: 20 },
  {
    of: '10000 endpoints, one of 65535 times the weight',
    list: hosts(10_000, i => (i === 0 ? 65_535 : 1)),
    goalMs: 200,
  },
];
for (const { balancing, of, list, goalMs } of kinds
  .slice(3)
  .flatMap(balancing => tables.map(table => ({ balancing, ...table })))) {
  const time = (work: () => void) => {
    const start = performance.now();
    work();
    return performance.now() - start;
  };
  const peerValue = median(
    Array.from({ length: rounds }, () => time(() => new Float64Array(65_537).map(Math.random).sort())),
  );
  const value = median(Array.from({ length: rounds }, () => time(() => makeBalancer(balancing, list, Math.random))));
  rows.push({
    case: `${balancing.kind}, table of ${of}`,
    value,
    unit: 'ms',
    peer: 'sorting 65537 numbers',
    peerValue,
    ratio: peerValue / value,
    goal: `<= ${goalMs} ms`,
    met: value <= goalMs,
  });
}
printRows(rows, process.argv.includes('--json'));
