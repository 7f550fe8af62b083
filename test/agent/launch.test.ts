import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openVersions } from '../../src/agent/agent-versions.ts';
import { versionToRun, versionVariable } from '../../src/agent/launch.ts';
import { lockDirectory } from '../../src/device/directory-lock.ts';
import { installedVersion, keepVersion } from '../../src/lifecycle/agent-version.ts';

async function stage(t: Test) {
  const data = t.testdir();
  const start = (env: NodeJS.ProcessEnv = {}) =>
    versionToRun(['--node', 'pi-1', '--data', data, '--label', 'a=b'], env);
  const versions = await openVersions(data);
  const unpack = (id: string) => {
    const program = join(data, 'versions', id, 'package/build/dist');
    mkdirSync(program, { recursive: true });
    writeFileSync(join(program, 'main.js'), '');
    return { version: id, program: join(program, 'main.js') };
  };
  return { data, start, versions, unpack };
}

t.test('a node that was never given another version runs the installed one, and nothing is written', async t => {
  const { data, start } = await stage(t);
  t.equal(await start(), undefined);
  t.equal(await start({ [versionVariable]: 'new' }), undefined);
  t.same((await openVersions(data)).state.value.current, installedVersion);
});

t.test('a start runs what was kept, and what it is told', async t => {
  const { start, versions, unpack } = await stage(t);
  const [kept, other] = [unpack('kept'), unpack('other')];
  await versions.change(state => keepVersion(state, 'kept'));
  t.same(await start(), kept);
  const env = { [versionVariable]: 'other', PATH: '/bin' };
  t.same(await start(env), other);
  t.same(env, { PATH: '/bin' }, 'what it starts later is told anew');
  t.equal(await start({ [versionVariable]: installedVersion }), undefined);
  await versions.change(state => keepVersion(state, installedVersion));
  t.equal(await start(), undefined, 'the one before is not what runs');
});

t.test('a start beside an agent that works there counts for nothing', async t => {
  const { data, start, versions, unpack } = await stage(t);
  const kept = unpack('kept');
  await versions.change(state => keepVersion(state, 'kept'));
  const letGo = await lockDirectory(data);
  for (let i = 0; i < 5; i++) t.equal(await start(), undefined, 'the installed one says what is wrong');
  t.same(await start({ [versionVariable]: 'kept' }), kept, 'who takes over is told');
  await letGo();
  t.same(await start(), kept);
});

t.test('after three starts that did not last, and where nothing can be read, the installed version runs', async t => {
  const { data, start, versions, unpack } = await stage(t);
  const kept = unpack('kept');
  await versions.change(state => keepVersion(state, 'kept'));
  for (let i = 0; i < 3; i++) t.same(await start(), kept);
  t.equal(await start(), undefined);
  t.match((await openVersions(data)).state.value, { current: installedVersion, refused: { id: 'kept' } });
  for (const file of ['state', 'state~previous']) writeFileSync(join(data, 'versions', file), 'torn');
  t.equal(await start(), undefined);
});
