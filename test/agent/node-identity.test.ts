import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadIdentity, type NodeIdentity, nextBoot, storeIdentity } from '../../src/agent/node-identity.ts';
import { openFiles } from '../../src/device/files.ts';

const identity: NodeIdentity = {
  node: 'pi-1',
  trustDomain: 'edge.local',
  keyPem: 'key',
  chainPem: 'chain',
  roots: ['root'],
  signers: ['signer'],
  masters: [{ host: '10.0.0.1', port: 8883 }],
  taskSecret: 'secret',
};

t.test('a node that has joined knows who it is after every start', async t => {
  const directory = t.testdir();
  t.equal(await loadIdentity(await openFiles(directory)), undefined);
  await storeIdentity(await openFiles(directory), identity);
  t.same(await loadIdentity(await openFiles(directory)), identity);
});

t.test('an identity that is damaged is not taken for none: a node does not join twice by mistake', async t => {
  const directory = t.testdir();
  const files = await openFiles(directory);
  await files.write('identity', Buffer.from('{"node":"pi-1"}'));
  await t.rejects(loadIdentity(files), { code: 'INVALID_INPUT', message: /^identity: / });
  for (const name of readdirSync(directory)) writeFileSync(join(directory, name), '');
  await t.rejects(loadIdentity(files), { code: 'UNTRUSTED' });
});

t.test('each start has its number, larger than all before', async t => {
  const directory = t.testdir();
  const boots: number[] = [];
  for (let start = 0; start < 3; start++) boots.push(await nextBoot(await openFiles(directory)));
  t.same(boots, [1, 2, 3]);
});
