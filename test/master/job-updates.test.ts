import t, { type Test } from 'tap';
import { Gate } from '../../src/base/gate.ts';
import { makeJobUpdates } from '../../src/master/job-updates.ts';
import { asJob, makeJobs } from '../../src/master/jobs.ts';
import { isTerminal } from '../../src/model/task.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { enterNode, jobOf, openTestStore, sha256, statusOf } from '../fixtures/master-store.ts';
import { taskSpec } from '../fixtures/task-spec.ts';

const web = (version: string, spec: object = {}) =>
  jobOf('web', {
    instances: 3,
    env: { VERSION: version },
    update: { minHealthyTime: '1s', healthyDeadline: '4s' },
    ...spec,
  });

/** A master's jobs over one database, and a node on which all tasks that have been entered run, and are ready where `isWell`. */
async function stage(t: Test, { isWell = (_template: string): boolean => true } = {}) {
  const store = await openTestStore(t);
  await enterNode(store, 'pi-1');
  const clock = new FakeClock();
  const events: string[] = [];
  let ids = 0;
  const newId = () => (++ids).toString(36).padStart(6, '0');
  const start = async (signal: AbortSignal) => {
    const gate = new Gate();
    const log = new CapturedLog();
    const parts = { store, clock, newId, sha256, nodes: () => [], onStopped: () => {} };
    const jobs = makeJobs({ ...parts, isUpdating: job => updates.isUnderWay(job) });
    const updates = makeJobUpdates({
      ...{ store, jobs, gate, clock, log },
      whyWaiting: () => undefined,
      onJobs: () => {},
      events: { record: kind => void events.push(kind) },
    });
    await updates.load();
    const ended = updates.run(signal);
    const apply = async (sent: object, until: 'begun' | 'stored' | 'applied' = 'applied') => {
      const job = asJob(sent);
      await updates.begin(job);
      if (until === 'begun') return;
      await store.documents.apply([{ kind: 'Job', namespace: 'default', name: 'web', json: JSON.stringify(sent) }], 1);
      if (until === 'applied') await jobs.apply(job);
    };
    const view = async () => {
      const job = await jobs.get('default', 'web');
      return job && updates.view(job);
    };
    return { updates, jobs, apply, view, ended };
  };
  const all = () => store.tasks.list({ job: 'web' });
  const live = async () => (await all()).filter(task => !isTerminal(task.state) && !task.stopping);
  const run = async () => {
    for (const { id, node, template, stopping, state } of await all()) {
      const said = { node: 'pi-1', receivedAt: 1 };
      if (node === null && !isTerminal(state)) {
        const place = { task: id, node: 'pi-1', spec: taskSpec({ id, job: 'web' }), expectedEndAt: null };
        await store.assignments.place([{ ...place, status: statusOf(id, 'TASK_STAGING') }]);
        await store.tasks.recordStatuses([{ ...statusOf(id, 'TASK_RUNNING'), ready: isWell(template) }], said);
      } else if (stopping && !isTerminal(state)) await store.tasks.recordStatuses([statusOf(id, 'TASK_KILLED')], said);
    }
  };
  /** How many of each template live. */
  const versions = async () => {
    const counts = new Map<string, number>();
    for (const { template } of await live()) counts.set(template, (counts.get(template) ?? 0) + 1);
    return counts;
  };
  return { store, clock, events, start, run, live, versions };
}

type Stage = Awaited<ReturnType<typeof stage>>;

/** One master that lives until `stop`; each `second` everything that was entered runs. */
async function begin({ start, clock, run }: Stage) {
  const controller = new AbortController();
  const master = await start(controller.signal);
  const second = async () => {
    await clock.untilSleeping();
    await clock.advance(1_000);
    // the look is in the turn of the gate, which is settled once this is
    await master.updates.renew({ namespace: 'default', name: 'none' });
    await run();
  };
  const stop = async () => {
    controller.abort();
    await master.ended;
  };
  return { ...master, second, stop };
}

t.test('an update goes on in a master that starts in the middle of it, whenever that is', async t => {
  const here = await stage(t);
  let master = await begin(here);
  await master.apply(web('v1'));
  await here.run();
  const fresh = await master.jobs.templateOf(asJob(web('v2')));
  await master.apply(web('v2'), 'begun');
  for (const step of ['stored', 'applied'] as const) {
    await master.stop();
    master = await begin(here);
    await master.apply(web('v2'), step);
  }
  let fewest = 3;
  for (let i = 0; i < 40 && (await master.view())?.phase !== 'succeeded'; i++) {
    await master.second();
    fewest = Math.min(fewest, (await here.live()).filter(task => task.ready).length);
    if (i % 4 !== 3) continue;
    await master.stop();
    master = await begin(here);
    // as a master does at its start
    await master.jobs.apply(asJob(web('v2')));
  }
  t.match(await master.view(), { phase: 'succeeded', healthy: 3, wanted: 3 });
  t.same([...(await here.versions())], [[fresh, 3]]);
  t.equal(fewest, 3);
  t.same(here.events, ['job-updated']);
  await master.stop();
});

t.test('a version that does not get well is taken back: its document too, and in steps', async t => {
  const wellOnes = new Set<string>();
  const here = await stage(t, { isWell: template => wellOnes.has(template) });
  const master = await begin(here);
  const first = await master.jobs.templateOf(asJob(web('v1')));
  wellOnes.add(first);
  await master.apply(web('v1'));
  await here.run();
  await master.apply(web('v2'));
  t.match(await master.view(), { phase: 'rolling' });
  for (let i = 0; i < 12 && (await master.view())?.phase !== 'reverted'; i++) await master.second();
  t.match(await master.view(), { phase: 'reverted', reason: /^task web\.default\.0-.* was not ready within 4 s/ });
  t.match(await master.jobs.get('default', 'web'), { spec: { env: { VERSION: 'v1' } } });
  t.same([...(await here.versions())], [[first, 3]]);
  t.same(here.events, ['job-reverted']);
  await master.apply(web('v1', { update: undefined, env: { VERSION: 'v3' } }));
  t.equal((await here.live()).filter(task => task.template === first).length, 0, 'without update all go at once');
  await master.stop();
});

t.test(
  'one that has failed without autoRevert stays as it is until it is reverted; what was lost is served anew',
  async t => {
    const here = await stage(t, { isWell: () => false });
    const master = await begin(here);
    await master.apply(web('v1'));
    await here.run();
    const update = { minHealthyTime: '1s', healthyDeadline: '2s', autoRevert: false };
    await master.apply(web('v2', { update }));
    for (let i = 0; i < 8; i++) await master.second();
    t.match(await master.view(), { phase: 'failed', reason: /was not ready within 2 s/ });
    t.same([...(await here.versions()).values()], [3, 1]);
    const lost = (await here.live()).find(task => task.label === '2');
    await master.jobs.move([lost?.id ?? '']);
    t.same([...(await here.versions()).values()].sort(), [2, 2]);
    const name = { namespace: 'default', job: 'web' };
    await t.rejects(master.updates.command(name, 'promote', 'ann'), { code: 'CONFLICT', message: /no canaries/ });
    t.match(await master.updates.command(name, 'revert', 'ann'), { phase: 'reverting', reason: 'reverted by ann' });
    await master.second();
    t.same([...(await here.versions()).values()], [3]);
    await master.stop();
  },
);

t.test('canaries run beside the others until an operator promotes them', async t => {
  const here = await stage(t);
  const master = await begin(here);
  await master.apply(web('v1'));
  await here.run();
  await master.apply(web('v2', { update: { canary: 1, maxParallel: 3, minHealthyTime: '1s' } }));
  const name = { namespace: 'default', job: 'web' };
  await t.rejects(master.updates.command(name, 'promote', 'ann'), { code: 'CONFLICT', message: /not ready yet/ });
  for (let i = 0; i < 5; i++) await master.second();
  t.match(await master.view(), { phase: 'canary', healthy: 1, wanted: 1, waits: true });
  t.same([...(await here.versions()).values()], [3, 1]);
  t.match(await master.updates.command(name, 'promote', 'ann'), { phase: 'rolling' });
  for (let i = 0; i < 5; i++) await master.second();
  t.match(await master.view(), { phase: 'succeeded' });
  t.same([...(await here.versions()).values()], [3]);
  await master.stop();
});

t.test('a secret that has changed is rolled out in the same steps, and has no version to go back to', async t => {
  const here = await stage(t);
  const master = await begin(here);
  const put = (version: number) =>
    here.store.secrets.put({ namespace: 'default', name: 'key', version, sealed: '', updatedAt: 1 });
  await put(1);
  await master.apply(web('v1', { secrets: [{ name: 'key', env: 'KEY' }] }));
  await here.run();
  await put(2);
  await master.updates.renew({ namespace: 'default', name: 'web' });
  t.match(await master.view(), { phase: 'rolling' });
  t.equal((await here.versions()).size, 1);
  await t.rejects(master.updates.command({ namespace: 'default', job: 'web' }, 'revert', 'ann'), { code: 'CONFLICT' });
  for (let i = 0; i < 20 && (await master.view())?.phase !== 'succeeded'; i++) await master.second();
  t.match(await master.view(), { phase: 'succeeded' });
  t.equal((await here.versions()).size, 1);
  await master.stop();
});
