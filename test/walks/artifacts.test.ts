/** What an operator pushes is run by a node, with the master and without. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadIdentity, type NodeIdentity } from '../../src/agent/node-identity.ts';
import { openFiles } from '../../src/device/files.ts';
import { listRuns, readIdentity } from '../../src/device/run-directory.ts';
import { packTarGz } from '../../src/device/tar-pack.ts';
import { clientTlsOptions } from '../../src/identity/contexts.ts';
import { type Begun, fetchRange } from '../../src/link/fetch-range.ts';
import { removeResultSchema } from '../../src/model/api.ts';
import { type ArtifactView, artifactListSchema, artifactViewSchema } from '../../src/model/artifact.ts';
import {
  endTasks,
  joinAgent,
  lives,
  makeHome,
  masterConfig,
  runAgent,
  runMaster,
  trustDomain,
  untilReady,
  untilTasks,
} from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { joinAs } from '../fixtures/fleet-join.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const master = await runMaster(t, await masterConfig(join(home, 'master'), ports));
const agent = await joinAgent(t, master, { dataDir: join(home, 'node'), node: 'node' }, ports);
const { api } = master;

mkdirSync(join(home, 'app/bin'), { recursive: true });
const script = '#!/bin/sh\nread -r word <conf/word\necho "$word"\nexec sleep 1000\n';
writeFileSync(join(home, 'app/bin/app'), script, { mode: 0o755 });

const never = new AbortController().signal;
const push = async (path: string): Promise<ArtifactView> =>
  api.client.push('/v1/artifacts', await packTarGz(path), artifactViewSchema);
const list = async () => (await api.client.get('/v1/artifacts', artifactListSchema)).artifacts;
/** Of the task of `app` that lives. */
async function livingPid(): Promise<number | undefined> {
  for (const task of readdirSync(join(home, 'node/tasks')).filter(name => name.startsWith('app.'))) {
    for (const run of await listRuns(join(home, 'node/tasks', task))) {
      const pid = (await readIdentity(run))?.pid;
      if (lives(pid)) return pid;
    }
  }
  return undefined;
}
const cached = () => readdirSync(join(home, 'node/artifacts'));

t.test('a directory is pushed once, whenever it was made', async t => {
  const first = await push(join(home, 'app'));
  t.match(first.address, /^mesolite:[0-9a-f]{64}$/);
  t.equal((await push(join(home, 'app'))).address, first.address);
  t.match(await list(), [{ address: first.address, jobs: [] }]);
});

t.test('a job that names what is not there is refused, with the place', async t => {
  const source = `mesolite:${'0'.repeat(64)}`;
  await t.rejects(api.apply(job('none', { command: ['./bin/app'], artifacts: [{ source }] })), {
    code: 'INVALID_INPUT',
    message: /^document 1: spec\.artifacts\[0\]\.source: there is no mesolite:0+ here: mesolite push it first$/,
  });
});

t.test('its tasks run what was pushed, by a path in their directory', async t => {
  const app = await push(join(home, 'app'));
  writeFileSync(join(home, 'word'), 'hello\n');
  const word = await push(join(home, 'word'));
  const artifacts = [{ source: app.address }, { source: word.address, destination: 'conf' }];
  await api.apply(job('app', { command: ['./bin/app'], artifacts }));
  const [task] = await untilTasks(api, 'app', 'TASK_RUNNING');
  await until('it has spoken', async () => (await api.output(task?.id ?? '')) === 'hello\n');
  t.same(cached().sort(), [app.sha256, word.sha256].sort());
  await until('the master knows that both are there', async () => (await api.nodes())[0]?.artifacts?.count === 2);
  t.match(
    (await list()).map(({ jobs }) => jobs),
    [['default/app'], ['default/app']],
  );
});

t.test(
  'a node is given it, or the rest of what it has begun; nobody else is, nor a node without such a task',
  async t => {
    const [first] = await list();
    const ask = async (identity: NodeIdentity | undefined, begun: Begun) => {
      if (identity === undefined) throw new Error('the node has an identity');
      const tls = () => clientTlsOptions(identity, { trustDomain, roots: [], intermediates: [] }, 'caller');
      const url = new URL(`https://127.0.0.1:${master.config.apiPort}/v1/artifacts/${first?.sha256}/content`);
      const { from, total, etag, answer } = await fetchRange(
        () => ({ tls, verifyServer: () => undefined }),
        url,
        begun,
        never,
      );
      let bytes = 0;
      for await (const piece of answer.body()) bytes += piece.length;
      answer.close();
      return { from, total, etag, bytes };
    };
    const own = await loadIdentity(await openFiles(agent.config.dataDir));
    const total = first?.bytes ?? 0;
    const etag = `"${first?.sha256}"`;
    t.same(await ask(own, { bytes: 0, etag: undefined }), { from: 0, total, etag, bytes: total });
    t.same(await ask(own, { bytes: 10, etag }), { from: 10, total, etag, bytes: total - 10 });
    t.same(await ask(own, { bytes: 10, etag: '"another"' }), { from: 0, total, etag, bytes: total });
    await t.rejects(ask(own, { bytes: total, etag }), { code: 'STALE' });
    const other = await joinAs(await api.joinString(), 'other', never);
    await t.rejects(ask(other, { bytes: 0, etag: undefined }), { code: 'FORBIDDEN' });
    const path = `/v1/artifacts/${first?.sha256}/content`;
    await t.rejects(api.client.get(path, artifactListSchema), { code: 'UNAUTHENTICATED' });
  },
);

t.test('an artifact that a job names is not removed, and one that none names is', async t => {
  const [first] = await list();
  const remove = (sha256: string | undefined) => api.client.delete(`/v1/artifacts/${sha256}`, removeResultSchema);
  await t.rejects(remove(first?.sha256), { code: 'CONFLICT', message: /needed by default\/app: delete that first/ });
  writeFileSync(join(home, 'other'), 'other\n');
  const other = await push(join(home, 'other'));
  await remove(other.sha256);
  await t.rejects(remove(other.sha256), { code: 'NOT_FOUND' });
});

t.test('one that is not what it should be fails its task for good, with the reason', async t => {
  const [first] = await list();
  // a file of the master's disk that somebody has changed
  writeFileSync(join(home, 'master/artifacts', first?.sha256 ?? ''), 'something else');
  await agent.stop();
  await endTasks(agent.config.dataDir);
  writeFileSync(join(home, 'node/artifacts', first?.sha256 ?? ''), 'and damaged here');
  const again = await runAgent(t, agent.config);
  await untilReady(api, 'node');
  await api.apply(job('wrong', { command: ['true'], type: 'batch', artifacts: [{ source: first?.address }] }));
  const [task] = await untilTasks(api, 'wrong', 'TASK_FAILED');
  t.match(task, {
    reason: 'REASON_CONTAINER_LAUNCH_FAILED',
    message: /its sha256 is [0-9a-f]+, expected/,
    restarts: 0,
  });
  await again.stop();
});

t.test('agent and tasks start again with nobody there: what is on the disk is enough', async t => {
  await master.stop();
  await endTasks(agent.config.dataDir);
  const offline = await runAgent(t, agent.config);
  t.ok(await until('the task runs again', livingPid));
  await offline.stop();
});
