/** `npm run bench:wire`: what identity and the wire cost, each beside a named peer measured in the same run; ends within 90 s. */
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
const { ours, aedes, latenessMs } = await measureFrozenAgents();
const frozen: Row = {
  case: 'a message among 100 frozen agents, p99',
  value: ours,
  unit: 'ms',
  peer: 'aedes with its defaults',
  peerValue: aedes,
  ratio: aedes / ours,
  goal: `at most ${goalMs} ms`,
  met: ours <= goalMs,
};
const rows = [
  rate('mutual TLS 1.3 handshakes, both ends', handshakes, 'RSA-2048', 1),
  rate('signatures by an authority', signatures, 'RSA-2048', 1),
  rate('new keys', keys, 'RSA-2048', 1),
  rate('certificates for a request', issued, 'node-forge, RSA-2048', 1),
  frozen,
];
printRows(rows, process.argv.includes('--json'));
console.error(`timers of the broker's process were up to ${latenessMs.toFixed(0)} ms late meanwhile (p99)`);
process.exitCode = rows.every(row => row.met) ? 0 : 1;
