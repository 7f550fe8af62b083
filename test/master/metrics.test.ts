import t from 'tap';
import { makeCounters } from '../../src/broker/counters.ts';
import type { FleetNode } from '../../src/master/fleet.ts';
import { makeMetrics } from '../../src/master/metrics.ts';

t.test('what the master knows is told as Prometheus reads it, each time as it is then', async t => {
  let nodes: Pick<FleetNode, 'state'>[] = [{ state: 'ready' }, { state: 'ready' }, { state: 'unreachable' }];
  const ends = new Map<string, number>([
    ['node', 1_090_000],
    ['root', 2_000_000],
  ]);
  const counters = makeCounters();
  const open = { connections: 4, webSockets: 1, bufferedBytes: 0, retainedMessages: 3, retainedBytes: 700 };
  const metrics = makeMetrics({
    fleet: { list: () => nodes as FleetNode[] },
    book: { revoked: new Set(['01']), soonestEnd: async kind => ends.get(kind) },
    broker: () => ({ ...counters, ...open, connected: { master: 0, node: 3, renewal: 0, join: 1 } }),
    now: () => 1_000_000,
  });
  t.match(metrics.contentType, /^text\/plain; version=0\.0\.4/);
  const lines = async () => (await metrics.text()).split('\n').filter(line => line !== '' && !line.startsWith('#'));
  const first = await lines();
  for (const line of [
    'mesolite_nodes{state="ready"} 2',
    'mesolite_nodes{state="unreachable"} 1',
    'mesolite_certificate_expiry_seconds{kind="node"} 90',
    'mesolite_certificate_expiry_seconds{kind="root"} 1000',
    'mesolite_certificates_revoked 1',
    'mesolite_broker_sessions{role="node"} 3',
    'mesolite_broker_connections 4',
    'mesolite_broker_refused_total{reason="revoked"} 0',
    'mesolite_broker_takeovers_total 0',
  ]) {
    t.ok(first.includes(line), line);
  }
  nodes = [{ state: 'ready' }];
  ends.delete('node');
  counters.refused.revoked = 2;
  counters.takeovers = 5;
  const second = await lines();
  t.ok(second.includes('mesolite_nodes{state="ready"} 1'));
  t.notOk(
    second.some(line => /unreachable|kind="node"/.test(line)),
    'what is gone is not told again',
  );
  t.ok(second.includes('mesolite_broker_refused_total{reason="revoked"} 2'), 'a count is shown, not added up');
  await metrics.text();
  t.ok((await lines()).includes('mesolite_broker_takeovers_total 5'));
});
