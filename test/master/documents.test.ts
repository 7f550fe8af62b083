import t, { type Test } from 'tap';
import { Gate } from '../../src/base/gate.ts';
import { makeDocuments } from '../../src/master/documents.ts';
import { makeJobs } from '../../src/master/jobs.ts';
import { makePushes, policyBounds } from '../../src/master/pushes.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { enterNode, jobOf, openTestStore, sha256, statusOf } from '../fixtures/master-store.ts';
import { taskSpec } from '../fixtures/task-spec.ts';

const policyOf = (name: string, spec: object = { action: 'DENY', rules: [{}] }, metadata: object = {}) => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name, ...metadata },
  spec,
});

/** Jobs are replaced at once. */
const noUpdates = { begin: async () => {}, forget: async () => {} };

async function stage(t: Test) {
  const store = await openTestStore(t);
  await enterNode(store, 'pi-1');
  const clock = new FakeClock();
  const told: string[] = [];
  let ids = 0;
  const newId = () => (++ids).toString(36).padStart(8, '0');
  const start = () => {
    const jobs = makeJobs({
      store,
      clock,
      newId: () => [...newId()].reverse().join(''),
      sha256,
      nodes: () => [],
      onStopped: versions => told.push(`stopped on ${versions.map(version => version.node)}`),
    });
    const onPolicies = async () => void told.push('policies');
    const onRoles = async () => void told.push('roles');
    const never = async () => Promise.reject(new Error('nobody is there to roll out to'));
    const rollouts = { active: undefined, nodeIds: () => [], firstRing: () => [], begin: never, overtake: never };
    const pushes = makePushes({ store, rollouts, onPolicies }, { rootNamespace: 'istio-system' });
    const artifacts = { check: async () => {}, remove: async () => {} };
    const parts = {
      store,
      jobs,
      artifacts,
      updates: noUpdates,
      gate: new Gate(),
      clock,
      fleetTotal: () => ({ cpus: 4_000 }),
      onJobs: () => void told.push('jobs'),
      onRoles,
      pushes,
    };
    const documents = makeDocuments(parts, { rootNamespace: 'istio-system', trustDomain: 'edge.example' });
    const by = 'ann';
    return {
      ...documents,
      apply: (sent: readonly unknown[]) => documents.apply(sent, { by }),
      remove: (kind: string, namespace: string, name: string) => documents.remove({ kind, namespace, name }, { by }),
    };
  };
  const tasks = async (job: string) => (await store.tasks.list({ job })).map(task => [task.label, task.state]);
  /** Places all waiting tasks of a job on the node, and lets them run. */
  const run = async (job: string) => {
    for (const { id, node } of await store.tasks.list({ job })) {
      if (node !== null) continue;
      const status = statusOf(id, 'TASK_STAGING');
      const spec = taskSpec({ id, job });
      await store.assignments.place([{ task: id, node: 'pi-1', spec, expectedEndAt: null, status }]);
      await store.tasks.recordStatuses([statusOf(id, 'TASK_RUNNING')], { node: 'pi-1', receivedAt: 1 });
    }
  };
  const takeTold = () => told.splice(0);
  return { store, start, tasks, run, takeTold };
}

t.test('documents are stored as they were sent, and carried out', async t => {
  const { start, tasks, takeTold } = await stage(t);
  const documents = start();
  const sent = [jobOf('web', { instances: 2 }), policyOf('deny', undefined, { namespace: 'edge' })];
  const { results } = await documents.apply(sent);
  t.match(results, [
    { kind: 'Job', namespace: 'default', name: 'web', result: 'created', warnings: [] },
    {
      kind: 'AuthorizationPolicy',
      namespace: 'edge',
      name: 'deny',
      result: 'created',
      warnings: [/no job in edge|there is no job in edge/],
    },
  ]);
  t.notOk(Object.hasOwn(results[0] ?? {}, 'revision'));
  t.same(await documents.list('Job'), [sent[0]]);
  t.same(await documents.list(undefined), [sent[1], sent[0]]);
  t.same(await tasks('web'), [
    ['0', 'TASK_STAGING'],
    ['1', 'TASK_STAGING'],
  ]);
  t.same(takeTold(), ['jobs', 'policies']);
});

t.test('of several documents all are stored, or none, and it is said which is wrong and where', async t => {
  const { start, tasks, takeTold, store } = await stage(t);
  const documents = start();
  const good = jobOf('web');
  const wrong: readonly (readonly [unknown, RegExp])[] = [
    [jobOf('x', { comand: ['x'] }), /^document 2: spec\.comand: unknown field/],
    [jobOf('x', { resources: { cpus: -1 } }), /^document 2: spec\.resources\.cpus: expected 0 or more/],
    [jobOf('x', { command: 'run' }), /^document 2: spec\.command: /],
    [jobOf('Not_A_Name'), /^document 2: metadata\.name: expected a name/],
    [{ kind: 'Gateway', metadata: { name: 'g' } }, /^document 2: kind: Gateway is not supported: publish the port/],
    ['hello', /^document 2: /],
    [policyOf('p', { action: 'CUSTOM' }), /^document 2: spec\.action: CUSTOM is not supported/],
    [
      policyOf('p', {
        rules: [{ from: [{ source: { ipBlocks: ['here'] } }] }, { to: [{ operation: { ports: ['x'] } }] }],
      }),
      /^document 2: spec\.rules\[0\]\.from\[0\]\.source\.ipBlocks.* \(and 1 more: spec\.rules\[1\]/,
    ],
  ];
  for (const [document, message] of wrong) {
    await t.rejects(documents.apply([good, document]), { code: 'INVALID_INPUT', message });
  }
  t.same(await documents.list(undefined), []);
  t.same(await tasks('web'), []);
  t.equal(await store.documents.revision(), 0);
  t.same(takeTold(), []);
});

t.test('jobs that would wait for each other are refused with the way round, and schedules that never come', async t => {
  const { start, store } = await stage(t);
  const documents = start();
  await documents.apply([jobOf('db'), jobOf('web', { after: ['db', 'not-yet-there'] })]);
  await t.rejects(documents.apply([jobOf('db', { after: ['cache'] }), jobOf('cache', { after: ['web'] })]), {
    code: 'INVALID_INPUT',
    message: /default\/db → default\/cache → default\/web → default\/db$/,
  });
  const periodic = (more: object) => jobOf('tidy', { type: 'periodic', periodic: { cron: '0 3 * * *', ...more } });
  for (const [more, message] of [
    [{ cron: '0 3 * *' }, /spec\.periodic\.cron: expected five fields/],
    [{ cron: '0 25 * * *' }, /spec\.periodic: /],
    [{ cron: '0 3 30 2 *' }, /spec\.periodic\.cron: 0 3 30 2 \* never comes/],
    [{ timeZone: 'Europe/Atlantis' }, /spec\.periodic: /],
  ] as const) {
    await t.rejects(documents.apply([periodic(more)]), { code: 'INVALID_INPUT', message });
  }
  t.same(await store.tasks.list({ job: 'tidy' }), []);
  await documents.apply([periodic({ timeZone: 'Europe/Berlin' })]);
  t.same(await store.tasks.list({ job: 'tidy' }), [], 'nothing runs before it is due');
});

t.test('the same document twice in one go is refused', async t => {
  const { start } = await stage(t);
  const documents = start();
  const twins = [jobOf('web'), jobOf('web', { instances: 3 })];
  await t.rejects(documents.apply(twins), { code: 'INVALID_INPUT', message: 'Job default/web is there twice' });
  await documents.apply([jobOf('web'), jobOf('web', {}, { namespace: 'other' })]);
});

t.test('what did not change is said to be so, and nothing is done about it', async t => {
  const { start, takeTold, tasks } = await stage(t);
  const documents = start();
  const sent = [jobOf('web'), policyOf('deny')];
  await documents.apply(sent);
  takeTold();
  t.match(await documents.apply(sent), { results: [{ result: 'unchanged' }, { result: 'unchanged' }] });
  t.same(takeTold(), ['jobs'], 'a job is filled up again');
  t.equal((await tasks('web')).length, 1);
  t.match(await documents.apply([policyOf('deny', { action: 'ALLOW', rules: [{}] })]), {
    results: [{ result: 'configured' }],
  });
  t.same(takeTold(), ['policies']);
});

t.test('a changed job replaces the tasks that it changes, and fewer instances end the last', async t => {
  const { start, tasks, run, takeTold, store } = await stage(t);
  const documents = start();
  await documents.apply([jobOf('web', { instances: 3 })]);
  await run('web');
  await documents.apply([jobOf('web', { instances: 2 })]);
  t.same(takeTold(), ['jobs', 'stopped on pi-1', 'jobs']);
  const stopping = async () =>
    (await store.tasks.list({ job: 'web' })).filter(task => task.stopping).map(task => task.label);
  t.same(await stopping(), ['2']);
  await documents.apply([jobOf('web', { instances: 2, command: ['other'] })]);
  t.same((await stopping()).sort(), ['0', '1', '2']);
  t.same(
    (await tasks('web')).filter(([, state]) => state === 'TASK_STAGING').map(([label]) => label),
    ['0', '1'],
  );
});

t.test(
  'a job that is removed takes its tasks with it: those that wait at once, the others when they have ended',
  async t => {
    const { start, tasks, run, takeTold, store } = await stage(t);
    const documents = start();
    await documents.apply([jobOf('web')]);
    await run('web');
    await documents.apply([jobOf('web', { instances: 2 })]);
    takeTold();
    await documents.remove('Job', 'default', 'web');
    t.same(takeTold(), ['stopped on pi-1', 'jobs']);
    t.same(await tasks('web'), [['0', 'TASK_RUNNING']], 'the one that had no place is forgotten');
    t.match(await store.tasks.list({ job: 'web' }), [{ stopping: true }]);
    t.same(await documents.list('Job'), []);
    await t.rejects(documents.remove('Job', 'default', 'web'), {
      code: 'NOT_FOUND',
      message: 'there is no Job default/web',
    });
    await t.rejects(documents.remove('Pod', 'default', 'x'), { code: 'NOT_FOUND' });
  },
);

t.test('a policy that is removed is told', async t => {
  const { start, takeTold } = await stage(t);
  const documents = start();
  await documents.apply([policyOf('deny')]);
  takeTold();
  await documents.remove('AuthorizationPolicy', 'default', 'deny');
  t.same(takeTold(), ['policies']);
  t.same(await documents.list(undefined), []);
});

t.test('what a crash left undone between storing a job and making its tasks is done at the start', async t => {
  const { start, tasks, store } = await stage(t);
  const put = { kind: 'Job', namespace: 'default', name: 'web', json: JSON.stringify(jobOf('web', { instances: 2 })) };
  await store.documents.apply([put], 1);
  await start().resume();
  await start().resume();
  t.equal((await tasks('web')).length, 2);
});

t.test(
  'a policy that says HTTP of a workload with a TCP service is warned of, in whatever order they come',
  async t => {
    const { start } = await stage(t);
    const documents = start();
    const tcp = (name: string, more: object = {}) =>
      jobOf(name, { ports: [{ name: 'sql', protocol: 'tcp' }], service: { port: 'sql' }, ...more });
    const http = policyOf('get', {
      selector: { matchLabels: { app: 'db' } },
      action: 'ALLOW',
      rules: [{ to: [{ operation: { methods: ['GET'] } }] }],
    });
    const warnings = async (...sent: unknown[]) =>
      (await documents.apply(sent)).results.flatMap(result => result.warnings);
    t.same(await warnings(http), [], 'nothing serves TCP yet');
    t.match(await warnings(tcp('other'), http), [/SELECTS_NOTHING/], 'it selects another job');
    t.same(await warnings(jobOf('db', { ports: [{ name: 'sql', protocol: 'tcp' }] }), http), [], 'not in the mesh');
    t.match(await warnings(tcp('db'), http), [
      /^spec\.rules\[0\]\.to\[0\]\.operation\.methods: Job default\/db speaks TCP, .* \(HTTP_FIELD_ON_TCP\)$/,
    ]);
    t.equal((await warnings(http)).length, 1, 'the job is known from before');
    t.equal((await warnings({ ...http, metadata: { name: 'root', namespace: 'istio-system' } })).length, 1);
    t.match(await warnings({ ...http, metadata: { name: 'far', namespace: 'far' } }), [/SELECTS_NOTHING/]);
  },
);

t.test('a role that is guaranteed more than the fleet has is taken, with a warning', async t => {
  const { start } = await stage(t);
  const role = {
    apiVersion: 'mesolite/v1',
    kind: 'Role',
    metadata: { name: 'eng' },
    spec: { quota: { guarantees: { cpus: 5 } } },
  };
  t.match((await start().apply([role])).results, [
    {
      result: 'created',
      warnings: [
        /^spec\.quota\.guarantees\.cpus: .* 5 cpus together, the fleet has 4 cpus: .* \(GUARANTEES_EXCEED_FLEET\)$/,
      ],
    },
  ]);
});

t.test('more policies than fit into one message are refused before any is stored', async t => {
  const { start, store } = await stage(t);
  const documents = start();
  const path = `/${'x'.repeat(2_000)}`;
  const rules = Array.from({ length: 100 }, () => ({ to: [{ operation: { paths: [path, path, path, path, path] } }] }));
  const large = (name: string) => policyOf(name, { action: 'DENY', rules });
  const size = JSON.stringify(large('x0')).length;
  const fit = Math.floor(policyBounds.bytes / size);
  await documents.apply(Array.from({ length: fit }, (_, i) => large(`x${i % 10}${Math.floor(i / 10) || ''}`)));
  await t.rejects(documents.apply([large('more')]), {
    code: 'TOO_LARGE',
    message: /at most 10000 of \d+ reach the nodes/,
  });
  t.equal((await store.documents.list('AuthorizationPolicy')).length, fit);
  await documents.apply([large('x0')]);
});
