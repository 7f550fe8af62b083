/** A node that was let in and talks nonsense: each kind is said once, counted, dropped, and harms nobody. */
import { join } from 'node:path';
import t from 'tap';
import { readTrustBundle } from '../../src/identity/verify.ts';
import { makeIncoming } from '../../src/master/incoming.ts';
import { topics, upKinds } from '../../src/model/topics.ts';
import { joinAgent, makeHome, masterConfig, runMaster } from '../fixtures/fleet.ts';
import { joinAs } from '../fixtures/fleet-join.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';
import { openVoice } from '../fixtures/fleet-voice.ts';

const home = makeHome(t);
const ports = new FreePorts();
const master = await runMaster(t, await masterConfig(join(home, 'master'), ports));
await joinAgent(t, master, { dataDir: join(home, 'honest'), node: 'honest', heartbeatMs: 1_000 }, ports);

const identity = await joinAs(await master.api.joinString(), 'mad', new AbortController().signal);
const bundle = readTrustBundle(identity.trustDomain, identity.roots, identity.chainPem);
const link = await openVoice(t, master.config.mqttPort, 'mad', identity, bundle);

const head = { v: 1, boot: 1, seq: 0, ts: 0 };
const nonsense: readonly Buffer[] = [
  Buffer.alloc(0),
  Buffer.from([0xff, 0xfe, 0x00]),
  Buffer.from('{"v":1'),
  Buffer.from('null'),
  Buffer.from('[]'),
  Buffer.from('{"v":2}'),
  Buffer.from(JSON.stringify({ ...head, boot: -1 })),
  Buffer.from(JSON.stringify({ ...head, full: 7, statuses: [{ task: '../../etc', state: 'TASK_DANCING', at: 0 }] })),
  Buffer.from(`{"v":1,"a":${'['.repeat(5_000)}${']'.repeat(5_000)}}`),
  Buffer.from('{"v":1,"__proto__":{"admin":true}}'),
  Buffer.alloc(200 * 1024, 0x20),
];
const dropped = (kind: string) => master.log.all('a malformed message was dropped', { node: 'mad', kind });

t.test('nonsense of every kind is dropped, said once a kind, and the link stays up', async t => {
  for (const kind of upKinds)
    for (const payload of nonsense) await link.publish(topics.up('mad', kind), payload, { qos: 1 });
  await until('all kinds were heard', () => upKinds.every(kind => dropped(kind).length > 0));
  for (const kind of upKinds) t.equal(dropped(kind).length, 1, kind);
  t.match(link.stats(), { connections: 1 });
  t.equal(link.state.value, 'up');
});

t.test('the same node is heard as soon as it talks sense, and others all the time', async t => {
  const asked = new Promise<void>(resolve => link.subscribe(topics.down('mad', 'ask'), () => resolve()));
  const heartbeat = { ...head, full: false, usage: {}, held: 'x' };
  await link.publish(topics.up('mad', 'hb'), Buffer.from(JSON.stringify(heartbeat)), { qos: 1 });
  await asked;
  const [honest] = await master.api.nodes();
  await until(
    'the other node is heard again',
    async () => ((await master.api.nodes())[0]?.lastSeen ?? 0) > (honest?.lastSeen ?? 0),
  );
  t.match(await master.api.nodes(), [{ node: 'honest', state: 'ready' }]);
  t.strictSame(
    master.log.entries.filter(entry => entry.level === 'error'),
    [],
  );
});

t.test('each that was dropped counts', async t => {
  const log = new CapturedLog();
  const never = (): void => void t.fail('nothing of it reaches the master');
  const handlers = {
    birth: never,
    hb: never,
    task: never,
    ack: never,
    audit: never,
    csr: never,
    log: never,
    shadow: never,
    death: never,
  };
  const incoming = makeIncoming({ log, handlers });
  for (const node of ['a', 'b']) for (const payload of nonsense) await incoming.handle(topics.up(node, 'hb'), payload);
  t.strictSame(
    [...incoming.malformed],
    [
      ['a/hb', nonsense.length],
      ['b/hb', nonsense.length],
    ],
  );
  t.equal(log.entries.length, 2);
});
