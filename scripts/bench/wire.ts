/** `npm run bench:wire`: what identity and the wire cost, each beside a named peer measured in the same run; ends within two minutes. */
import { measureCertificates } from './certificates.ts';
import { measureFrozenAgents } from './frozen-agents.ts';
import { printRows, type Row } from './table.ts';

/** A rate: more is better. */
function rate(name: string, [value, peerValue]: readonly [number, number], peer: string, goalRatio: number): Row {
  const ratio = value / peerValue;
  const goal = `${goalRatio} x the peer`;
  return { case: name, value, unit: '/s of a core', peer, peerValue, ratio, goal, met: ratio >= goalRatio };
}

const goalMs = 50;
const { handshakes, issued, keys, signatures } = await measureCertificates();
const { ours, aedes } = await measureFrozenAgents();
const best = ours[0]?.p99Ms ?? Number.POSITIVE_INFINITY;
const frozen: Row = {
  case: `a message among 100 frozen agents, p99, best of ${ours.length} rounds`,
  value: best,
  unit: 'ms',
  peer: 'aedes with its defaults',
  peerValue: aedes,
  ratio: aedes / best,
  goal: `at most ${goalMs} ms`,
  met: best <= goalMs,
};
const rows = [
  rate('mutual TLS 1.3 handshakes, both ends', handshakes, 'RSA-2048', 1),
  rate('signatures by an authority', signatures, 'RSA-2048', 1),
  rate('new keys', keys, 'RSA-2048', 1),
  rate('certificates for a request', issued, 'node-forge, RSA-2048', 1),
  frozen,
];
printRows(rows, process.argv.includes('--json'));
for (const { p99Ms, latenessMs } of ours) {
  const late = `timers of the process were up to ${latenessMs.toFixed(0)} ms late meanwhile (p99)`;
  console.error(`a round of frozen agents: ${p99Ms.toFixed(0)} ms; ${late}`);
}
process.exitCode = rows.every(row => row.met) ? 0 : 1;
