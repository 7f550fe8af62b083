import { createHash } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { hourMs } from '../../src/base/clock.ts';
import { openArtifacts } from '../../src/master/artifacts.ts';
import { decodeDocument, type Job } from '../../src/model/document.ts';
import { taskSpec } from '../fixtures/task-spec.ts';

const sha256Of = (text: string) => createHash('sha256').update(text).digest('hex');
const textOf = (name: string) => name.repeat(1000);

async function* bytesOf(text: string, failure?: Error): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
  if (failure !== undefined) throw failure;
}

function jobWith(name: string): Job {
  const spec = { command: ['./run'], artifacts: [{ source: `mesolite:${sha256Of(textOf(name))}` }] };
  const document = decodeDocument({ apiVersion: 'mesolite/v1', kind: 'Job', metadata: { name }, spec }, name);
  if (document.kind !== 'Job') throw new Error('it is a job');
  return document;
}

/** A store of 2,500 bytes; its time is the test's. */
async function stage(t: Test) {
  const directory = join(t.testdir(), 'artifacts');
  const jobs: Job[] = [];
  const time = { ms: Date.now() };
  let ids = 0;
  const tasks = [
    taskSpec({ artifacts: [{ source: `mesolite:${sha256Of(textOf('a'))}`, sha256: '', unpack: 'auto' }] }),
  ];
  const assignments = {
    of: async (node: string) => ({ node, epoch: 1, generation: 1, tasks: node === 'pi-1' ? tasks : [] }),
  };
  const parts = {
    jobs: async () => jobs,
    agentVersions: async () => [],
    assignments,
    now: () => time.ms,
    newId: () => `push-${++ids}`,
  };
  const open = () => openArtifacts(parts, { directory, totalBytes: 2_500 });
  const names = () => readdirSync(directory).sort();
  return {
    open,
    directory,
    jobs,
    time,
    names,
    of: (...all: string[]) => all.map(name => sha256Of(textOf(name))).sort(),
  };
}

t.test(
  'what no job names goes where there is no room, the one unused for longest first, and not within an hour',
  async t => {
    const { open, jobs, time, names, of } = await stage(t);
    const artifacts = await open();
    const push = (name: string) => artifacts.push(bytesOf(textOf(name)));
    for (const name of ['a', 'b']) t.match(await push(name), { sha256: sha256Of(textOf(name)), bytes: 1000, jobs: [] });
    await t.rejects(push('c'), {
      code: 'TOO_LARGE',
      message: /no room: artifacts that are needed take 2000 of 2500 bytes/,
    });
    t.same(names(), of('a', 'b'), 'nothing of it is left');
    time.ms += 2 * hourMs;
    jobs.push(jobWith('a'));
    await push('c');
    t.same(names(), of('a', 'c'));
    await t.rejects(artifacts.remove(sha256Of(textOf('a'))), { code: 'CONFLICT', message: /needed by default\/a/ });
  },
);

t.test('a push that breaks off leaves nothing, also when the master dies in it', async t => {
  const { open, directory, names } = await stage(t);
  const artifacts = await open();
  await t.rejects(artifacts.push(bytesOf('half', new Error('the line broke'))), /the line broke/);
  t.same(names(), []);
  writeFileSync(join(directory, 'push-9~new'), 'half');
  await open();
  t.same(names(), []);
});

t.test('a node is given what its tasks name, and nothing else', async t => {
  const { open } = await stage(t);
  const artifacts = await open();
  const { sha256 } = await artifacts.push(bytesOf(textOf('a')));
  t.match(await artifacts.open(sha256, 'pi-1'), { bytes: 1000 });
  await t.rejects(artifacts.open(sha256, 'pi-2'), {
    code: 'FORBIDDEN',
    message: /^node pi-2 has no task with mesolite:/,
  });
  const other = await artifacts.push(bytesOf(textOf('b')));
  await t.rejects(artifacts.open(other.sha256, 'pi-1'), { code: 'FORBIDDEN' });
  await t.rejects(artifacts.open('../../mesolite.db', 'pi-1'), { code: 'NOT_FOUND' });
});
