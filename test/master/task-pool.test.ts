import t from 'tap';
import { makeJobs } from '../../src/master/jobs.ts';
import { makeTaskPool } from '../../src/master/task-pool.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { enterNode, jobOf, openTestStore, sha256, statusOf } from '../fixtures/master-store.ts';
import { taskSpec } from '../fixtures/task-spec.ts';

t.test('only what has changed is read, and nothing when nothing has', async t => {
  const store = await openTestStore(t);
  const clock = new FakeClock();
  let ids = 0;
  const newId = () => `${++ids}`.padStart(8, '0').split('').reverse().join('');
  const jobs = makeJobs({ store, clock, newId, sha256, onStopped: () => {}, nodes: () => [] });
  const pool = makeTaskPool({ store, jobs });
  await enterNode(store, 'pi-1');
  const apply = async (name: string, spec: object) => {
    const json = JSON.stringify(jobOf(name, spec));
    await store.documents.apply([{ kind: 'Job', namespace: 'default', name, json }], 1);
    const job = await jobs.get('default', name);
    if (job !== undefined) await jobs.apply(job);
    await pool.refresh();
  };
  await apply('web', { instances: 3, maxPerNode: 1, role: 'eng', apartFrom: ['db'] });
  t.match(pool.pending(), [
    { job: 'web', role: 'eng', maxPerNode: 1, apartFrom: ['default/db'] },
    { job: 'web' },
    { job: 'web' },
  ]);
  t.equal(pool.reads, 3);
  for (let heartbeat = 0; heartbeat < 100; heartbeat++) await pool.refresh();
  t.equal(pool.reads, 3, 'a hundred looks cost nothing');

  const [{ id } = { id: '' }] = await store.tasks.list({ job: 'web' });
  const status = statusOf(id, 'TASK_STAGING');
  const spec = taskSpec({ id, job: 'web' });
  await store.assignments.place([{ task: id, node: 'pi-1', spec, expectedEndAt: null, status }]);
  await pool.refresh();
  t.same([pool.pending().length, [...pool.running.keys()], pool.reads], [2, [id], 4]);
  await store.tasks.recordStatuses([statusOf(id, 'TASK_FAILED')], { node: 'pi-1', receivedAt: 1 });
  await pool.refresh();
  t.same([pool.pending().length, pool.running.size, pool.reads], [2, 0, 5]);

  const fresh = makeTaskPool({ store, jobs });
  await fresh.load(await store.tasks.list());
  t.same(
    fresh
      .pending()
      .map(task => task.id)
      .sort(),
    pool
      .pending()
      .map(task => task.id)
      .sort(),
    'as a reading of all would give it',
  );
});
