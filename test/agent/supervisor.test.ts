import { setMaxListeners } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { makeSupervisor } from '../../src/agent/supervisor.ts';
import { openTaskDirectories } from '../../src/agent/task-directories.ts';
import { makeTaskEndings } from '../../src/agent/task-endings.ts';
import type { Clock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { systemClock } from '../../src/device/clock.ts';
import { newId } from '../../src/device/dice.ts';
import { openFiles } from '../../src/device/files.ts';
import { makeProcesses } from '../../src/device/process.ts';
import { makeLogKeeper } from '../../src/device/task-log.ts';
import { sha256Hex } from '../../src/identity/keys.ts';
import type { TaskSpec, TaskStatus } from '../../src/model/task.ts';
import { until } from '../fixtures/fleet-until.ts';
import { taskSpec } from '../fixtures/task-spec.ts';

/** With real processes and files. */
async function stage(
  t: Test,
  { dataDir = t.testdir(), clock = systemClock }: { dataDir?: string; clock?: Clock } = {},
) {
  const files = await openFiles(dataDir);
  const ending = new AbortController();
  setMaxListeners(0, ending.signal);
  t.teardown(() => ending.abort());
  const [log, said] = [silentLog, [] as TaskStatus[]];
  /** Which tasks were here each time that they had changed. */
  const heard: string[][] = [];
  /** The directories whose logs are kept within their bounds. */
  const logs = new Set<string>();
  const underWay = new Set<Promise<unknown>>();
  const supervisor = makeSupervisor({
    ...{ clock, log, files, newId, sha256: sha256Hex, random: () => 1 },
    processes: makeProcesses({ clock }, { pollMs: 20 }),
    directories: await openTaskDirectories(dataDir),
    endings: makeTaskEndings({ files, clock, newId, log }),
    logKeeper: {
      ...makeLogKeeper({ clock, log }),
      watch: directory => logs.add(directory),
      forget: directory => logs.delete(directory),
    },
    lower: async () => ({ prefix: [] }),
    environmentOf: () => ({ PATH: '/usr/bin:/bin' }),
    artifacts: { place: async () => {} },
    identities: { ready: async () => {} },
    inBackground: (_, work) => void underWay.add(work.catch(error => t.fail(String(error)))),
    onStatus: status => said.push(status),
    onChanged: () => heard.push(supervisor.live().map(({ spec }) => spec.id)),
  });
  await supervisor.start(ending.signal);
  const whole = (generation: number, tasks: readonly TaskSpec[]) =>
    supervisor.assign({ epoch: 1, generation, full: true, base: 0, put: [...tasks], remove: [] });
  /** What it does in the background is over, so that the directory may go. */
  const settled = async () => {
    for (const work of underWay) await work;
  };
  return { supervisor, said, heard, logs, whole, dataDir, settled, die: () => ending.abort() };
}

const tasks = Array.from({ length: 20 }, (_, i) =>
  taskSpec({ id: `brief.default.${i}-a`, type: 'batch', command: ['/bin/sh', '-c', 'exit 3'] }),
);

t.test('many tasks that are not wanted any more before they began are told, and none of them begins', async t => {
  const { supervisor, said, whole, settled } = await stage(t);
  const answers = await Promise.all([whole(1, tasks), whole(2, tasks.slice(3)), whole(3, [])]);
  t.same(answers, [undefined, undefined, undefined]);
  t.same(
    said.map(({ task, state }) => `${task} ${state}`),
    tasks.map(({ id }) => `${id} TASK_KILLED`),
  );
  t.match(supervisor.held, { epoch: 1, generation: 3 });
  t.same(supervisor.live(), []);
  await settled();
});

t.test('an assignment that comes while tasks of the one before begin has each of them begin once', async t => {
  const { said, whole, settled } = await stage(t);
  const more = taskSpec({ id: 'brief.default.20-a', type: 'batch', command: ['/bin/sh', '-c', 'exit 3'] });
  // as it comes from the wire: equal, and other objects
  await Promise.all([whole(1, tasks), whole(2, [...structuredClone(tasks), more])]);
  await until('all have ended', () => said.filter(({ state }) => state === 'TASK_FAILED').length === 21);
  t.equal(said.filter(({ state }) => state === 'TASK_RUNNING').length, 21);
  await settled();
});

/** A test that fails leaves nothing for longer. */
const fiveMinutes = 'n=0; while [ $((n+=1)) -lt 6000 ]; do sleep 0.05; done';

t.test('a task that was told to go keeps its grace when the agent is followed by another', async t => {
  const first = await stage(t);
  const { dataDir } = first;
  const at = (name: string) => `${dataDir}/${name}`;
  const script = `trap 'echo >${at('told')}; until [ -e ${at('go')} ]; do sleep 0.05; done; echo >${at('gone')}; exit 0' TERM
    echo >${at('up')}; ${fiveMinutes}`;
  const task = taskSpec({ command: ['/bin/sh', '-c', script], killGraceMs: 300_000 });
  await first.whole(1, [task]);
  await until('it runs', () => existsSync(at('up')));
  await first.whole(2, []);
  await until('it was told', () => existsSync(at('told')));
  first.die();
  await first.settled();
  const waits: number[] = [];
  const clock: Clock = {
    ...systemClock,
    after(ms, task) {
      waits.push(ms);
      return systemClock.after(ms, task);
    },
  };
  const next = await stage(t, { dataDir, clock });
  await until('its end is awaited', () => waits.includes(300_000));
  t.notOk(waits.includes(5_000));
  writeFileSync(at('go'), '');
  await until('it is told', () => next.said.some(({ state }) => state === 'TASK_KILLED'));
  t.ok(existsSync(at('gone')), 'it came to its own end');
  await next.settled();
  next.die();
  const last = await stage(t, { dataDir });
  await last.whole(3, []);
  t.match((await (await openFiles(dataDir)).read('desired-tasks'))?.value.toString(), /"ending":\{\}/);
});

t.test('where nobody can read what was wanted, what runs goes on until the master has said it again', async t => {
  const first = await stage(t);
  const { dataDir } = first;
  const script = `trap 'exit 0' TERM; echo $$ >>${dataDir}/up; ${fiveMinutes}`;
  const running = (name: string) => taskSpec({ id: `${name}.default.0-a`, command: ['/bin/sh', '-c', script] });
  const [kept, other] = [running('kept'), running('other')];
  const brief = taskSpec({ id: 'brief.default.0-a', type: 'batch', command: ['/bin/sh', '-c', 'exit 3'] });
  await first.whole(1, [kept, other, brief]);
  const begun = () => readFileSync(`${dataDir}/up`, 'utf8').trim().split('\n').length;
  await until('both run', () => existsSync(`${dataDir}/up`) && begun() === 2);
  await until('one has ended', () => first.said.some(({ state }) => state === 'TASK_FAILED'));
  first.die();
  await first.settled();
  const files = await openFiles(dataDir);
  const novel = [kept, other, brief].map(task => ({ ...task, novel: true }));
  await files.write('desired-tasks', Buffer.from(JSON.stringify({ epoch: 1, generation: 1, tasks: novel })));
  const next = await stage(t, { dataDir });
  t.match(next.supervisor.held, { epoch: 0, generation: 0 });
  t.same([next.said, next.heard], [[], []], 'nothing has ended, and nothing was begun');
  t.equal(next.logs.size, 3);
  await next.whole(2, [kept, brief]);
  await until('what is not wanted has ended', () => next.said.some(({ state }) => state === 'TASK_KILLED'));
  const newest = new Map(next.said.map(({ task, state }) => [task, state]));
  t.same(Object.fromEntries(newest), {
    [kept.id]: 'TASK_RUNNING',
    [other.id]: 'TASK_KILLED',
    [brief.id]: 'TASK_FAILED',
  });
  t.same(next.heard[0], [kept.id], 'nobody heard that it was not here');
  t.equal(begun(), 2, 'none has begun again');
  await next.whole(3, []);
  await until('it has ended', () => next.supervisor.live().length === 0);
  await next.settled();
  t.equal(next.logs.size, 0, 'what has gone says nothing any more');
});
