import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { deriveSealKey, unseal } from '../../src/identity/sealing.ts';
import { checkSecrets, makeSecrets } from '../../src/master/secrets.ts';
import { decodeDocument, type Job } from '../../src/model/document.ts';
import { sealContext, secretBounds } from '../../src/model/secret.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { openTestStore } from '../fixtures/master-store.ts';

const dataKey = 'the key of the authority file';

function job(secrets: readonly object[], namespace = 'default'): Job {
  const metadata = { name: 'web', namespace };
  const sent = { apiVersion: 'mesolite/v1', kind: 'Job', metadata, spec: { command: ['true'], secrets } };
  const document = decodeDocument(sent, 'job');
  if (document.kind !== 'Job') throw new Error('not a job');
  return document;
}

async function stage(t: Test, jobs: readonly Job[] = []) {
  const dir = t.testdir();
  const store = await openTestStore(t, dir);
  const applied: string[] = [];
  const events: string[] = [];
  const parts = {
    store,
    jobs: { list: async () => [...jobs] },
    updates: { renew: async ({ name }: { name: string }) => void applied.push(name) },
    events: { record: (_: string, { message }: { message: string }) => void events.push(message) },
    clock: new FakeClock(),
    onJobs: () => {},
  };
  return { dir, store, applied, events, parts, secrets: makeSecrets(parts, dataKey) };
}

const name = { namespace: 'default', name: 'token' };

t.test(
  'a secret is stored encrypted, listed without its value, and sealed for the node that runs the task',
  async t => {
    const web = job([{ name: 'token', env: 'TOKEN' }]);
    const { dir, secrets, events } = await stage(t, [web]);
    t.same(await secrets.put(name, Buffer.from('hunter2-hunter2'), 'ann'), { version: 1, result: 'created' });
    const [view] = await secrets.list();
    t.match(view, { namespace: 'default', name: 'token', version: 1, usedBy: ['web'] });
    t.notMatch(JSON.stringify(view), /sealed|value/);
    const stored = readdirSync(dir).map(file => readFileSync(join(dir, file), 'latin1'));
    t.notOk(stored.some(text => text.includes('hunter2') || text.includes(btoa('hunter2-hunter2').slice(0, 12))));
    t.same(events, ['ann put secret default/token, version 1']);

    const key = deriveSealKey('node');
    const [sealed] = await secrets.sealFor(web, 'web.default.0-a', key.publicKey);
    t.match(sealed, { name: 'token', version: 1, env: 'TOKEN' });
    const context = sealContext('web.default.0-a', { name: 'token', version: 1 });
    t.equal(unseal(key, sealed?.sealed ?? '', context).toString(), 'hunter2-hunter2');
  },
);

t.test('a changed value is another version and has its users replaced; the same value is not', async t => {
  const web = job([{ name: 'token', file: 'token' }]);
  const { secrets, applied } = await stage(t, [web, job([{ name: 'token', file: 'x' }], 'other')]);
  await secrets.put(name, Buffer.from('one'), 'ann');
  applied.length = 0;
  t.same(await secrets.put(name, Buffer.from('one'), 'ann'), { version: 1, result: 'unchanged' });
  t.same(applied, []);
  t.same(await secrets.put(name, Buffer.from('two'), 'ann'), { version: 2, result: 'changed' });
  t.same(applied, ['web'], 'not that of another namespace');
});

t.test('one that a job uses is not deleted; a job names only what its namespace has', async t => {
  const jobs = [job([{ name: 'token', env: 'TOKEN' }])];
  const { secrets, store } = await stage(t, jobs);
  const [web] = jobs;
  if (web === undefined) throw new Error('no job');
  t.throws(() => checkSecrets(web, new Map()), { code: 'INVALID_INPUT', message: /secrets\[0\].*secret put token/ });
  await secrets.put({ ...name, namespace: 'other' }, Buffer.from('x'), 'ann');
  t.throws(() => checkSecrets(web, new Map()));
  await secrets.put(name, Buffer.from('x'), 'ann');
  const versions = await store.secrets.versions('default');
  t.doesNotThrow(() => checkSecrets(web, versions));
  await t.rejects(secrets.remove(name, 'ann'), { code: 'CONFLICT', message: /job default\/web uses/ });
  jobs.length = 0;
  await t.rejects(secrets.remove({ ...name, name: 'none' }, 'ann'), { code: 'NOT_FOUND' });
});

t.test('with another key it does not open, and can be put again', async t => {
  const web = job([{ name: 'token', env: 'TOKEN' }]);
  const { secrets, parts } = await stage(t, [web]);
  await secrets.put(name, Buffer.from('x'), 'ann');
  const other = makeSecrets(parts, 'another key');
  const { publicKey } = deriveSealKey('node');
  await t.rejects(other.sealFor(web, 'web.default.0-a', publicKey), { code: 'CONFLICT', message: /put it again/ });
  t.match(await other.put(name, Buffer.from('x'), 'ann'), { version: 2 });
  t.equal((await other.sealFor(web, 'web.default.0-a', publicKey)).length, 1);
});

t.test('what a job may say of secrets', async t => {
  for (const wrong of [
    [{ name: 'a' }],
    [{ name: 'a', env: 'A', file: 'a' }],
    [{ name: 'a', env: '1A' }],
    [{ name: 'a', file: '../a' }],
    [{ name: 'a', file: '.a' }],
    [
      { name: 'a', env: 'A' },
      { name: 'b', env: 'A' },
    ],
    Array.from({ length: secretBounds.ofJob + 1 }, (_, i) => ({ name: 'a', env: `A${i}` })),
  ]) {
    t.throws(() => job(wrong), { code: 'INVALID_INPUT' }, JSON.stringify(wrong).slice(0, 60));
  }
});
