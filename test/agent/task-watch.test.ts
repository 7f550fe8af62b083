import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { watchTasks } from '../../src/agent/task-watch.ts';
import { silentLog } from '../../src/base/log.ts';
import { openCgroups } from '../../src/device/cgroup.ts';
import { hasProc } from '../../src/device/process-identity.ts';
import { readTaskMemory } from '../../src/device/task-memory.ts';
import { FakeCgroups } from '../fixtures/fake-cgroups.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { taskSpec } from '../fixtures/task-spec.ts';

const skip = !hasProc() && 'what a process holds is not known here';

t.test(
  'memory is looked at often while a task is young or grows, and soon after one was started',
  { skip },
  async t => {
    const clock = new FakeClock();
    const tree = new FakeCgroups({ controllers: ['cpu', 'pids'] });
    const cgroup = openCgroups({ tree, clock }, { owner: 'one', isRoot: true }).cgroups?.make('run', {});
    if (cgroup === undefined) throw new Error('no group can be made');
    // it holds nothing yet, and a quarter of its limit when this process is in its group
    const own = { pid: process.pid, cgroup: { members: () => [process.pid] } };
    const bytes = readTaskMemory([own]).get(own) ?? 0;
    const spec = taskSpec({ limits: { mem: Math.round((4_000 * bytes) / 1_048_576) } });
    const running = { pid: 1, ranMs: 0, exited: new Promise<undefined>(() => {}), cgroup, signal() {} };
    const task = { spec, directory: t.testdirName, process: running, exceeded: () => t.fail('it did not') };
    let looks = 0;
    let started = () => {};
    const ending = new AbortController();
    const watching = watchTasks(
      {
        ...{ clock, log: silentLog, dataDir: t.testdirName, tasks: () => [task] },
        holdsMemory() {
          looks++;
          return false;
        },
        onStarted(task) {
          started = task;
        },
      },
      ending.signal,
    );
    const looksIn = async (ms: number) => {
      const before = looks;
      await clock.advance(ms);
      return looks - before;
    };
    t.equal(await looksIn(60_000), 30, 'young');
    // the last of these looks is its first as one that is not
    t.equal(await looksIn(2_000), 1);
    t.equal(await looksIn(20_000), 2, 'at rest');
    tree.write(`${cgroup.path.slice(tree.mount.length)}/cgroup.procs`, `${process.pid}`);
    t.equal(await looksIn(12_000), 2, 'it has grown');
    t.equal(await looksIn(9_000), 0, 'it has not');
    started();
    await clock.advance(0);
    t.equal(await looksIn(2_000), 1, 'another was started');
    ending.abort();
    await watching;
  },
);

t.test('a task is held to the disk that its directory takes, and not for what it has said', async t => {
  const home = t.testdir({ loud: { sandbox: {} }, full: { sandbox: {} } });
  const clock = new FakeClock();
  const ending = new AbortController();
  const megabytes = Buffer.alloc(3 * 1024 * 1024, 1);
  writeFileSync(join(home, 'loud/stdout.log'), megabytes);
  mkdirSync(join(home, 'full/sandbox/deep'));
  writeFileSync(join(home, 'full/sandbox/deep/file'), megabytes);
  const running = { pid: 1, ranMs: 0, exited: new Promise<undefined>(() => {}), cgroup: undefined, signal() {} };
  const spec = (name: string) => taskSpec({ id: name, resources: { scalars: { disk: 2_000 }, ranges: {}, sets: {} } });
  const over = new Promise<string>(resolve => {
    const tasks = ['loud', 'full'].map(name => ({
      ...{ spec: spec(name), directory: join(home, name), process: running },
      exceeded: (what: string, message: string) => resolve(`${name} ${what}: ${message}`),
    }));
    const parts = { clock, log: silentLog, dataDir: home, tasks: () => tasks, onStarted: () => {} };
    void watchTasks({ ...parts, holdsMemory: () => true }, ending.signal);
  });
  await clock.untilSleeping(2);
  await clock.advance(10_000);
  t.match(await over, /^full disk: took 3\.\d MB on the disk, and may have 2\.0 MB$/);
  ending.abort();
});
