/** What every store does, whatever database is under it. */
import t, { type Test } from 'tap';
import { isMesoliteError } from '../../src/base/errors.ts';
import type { TaskSpec, TaskState, TaskStatus } from '../../src/model/task.ts';
import type { Placement } from '../../src/store/assignments.ts';
import type { Store } from '../../src/store/store.ts';
import type { NewTask } from '../../src/store/task-record.ts';
import { auditContract } from './audit-contract.ts';
import { rolloutContract } from './rollout-contract.ts';

/** `openStore` gives an empty store, closed by `t.teardown`. */
export function storeContract(name: string, openStore: (t: Test) => Promise<Store>): void {
  t.test(`${name}: facts and counters`, t => metaContract(t, openStore));
  t.test(`${name}: operator tokens`, t => operatorTokenContract(t, openStore));
  t.test(`${name}: joining`, t => joinContract(t, openStore));
  t.test(`${name}: nodes`, t => nodeContract(t, openStore));
  t.test(`${name}: documents`, t => documentContract(t, openStore));
  t.test(`${name}: tasks`, t => taskContract(t, openStore));
  t.test(`${name}: statuses`, t => statusContract(t, openStore));
  t.test(`${name}: assignments`, t => assignmentContract(t, openStore));
  t.test(`${name}: frameworks`, t => frameworkContract(t, openStore));
  t.test(`${name}: rollouts`, t => rolloutContract(t, openStore));
  t.test(`${name}: audit`, t => auditContract(t, openStore));
}

type Open = (t: Test) => Promise<Store>;

async function metaContract(t: Test, open: Open): Promise<void> {
  t.test('a fact is what it was set to last', async t => {
    const { meta } = await open(t);
    t.equal(await meta.get('trustDomain'), undefined);
    await meta.set('trustDomain', 'one.example');
    await meta.set('trustDomain', 'two.example');
    t.equal(await meta.get('trustDomain'), 'two.example');
  });

  t.test('counters rise from 1, each by itself, and never give a number twice', async t => {
    const { meta } = await open(t);
    t.equal(await meta.epoch(), 0);
    const epochs = await Promise.all(Array.from({ length: 20 }, () => meta.nextEpoch()));
    t.same(
      epochs.sort((a, b) => a - b),
      Array.from({ length: 20 }, (_, i) => i + 1),
    );
    t.equal(await meta.epoch(), 20);
    t.equal(await meta.nextRevision('policy'), 1);
    t.equal(await meta.nextRevision('policy'), 2);
    t.equal(await meta.nextRevision('epoch'), 1, 'a revision of that name is another counter');
  });
}

async function operatorTokenContract(t: Test, open: Open): Promise<void> {
  t.test('a token is found by its hash until it is removed', async t => {
    const { operatorTokens } = await open(t);
    const token = { name: 'ann', hash: 'h1', role: 'admin', createdAt: 1 } as const;
    await operatorTokens.add(token);
    await operatorTokens.add({ ...token, name: 'bob', hash: 'h2', role: 'reader' });
    t.same(await operatorTokens.findByHash('h1'), token);
    t.equal(await operatorTokens.findByHash('h3'), undefined);
    t.same(
      (await operatorTokens.list()).map(each => each.name),
      ['ann', 'bob'],
    );
    t.equal(await operatorTokens.remove('ann'), true);
    t.equal(await operatorTokens.remove('ann'), false);
    t.equal(await operatorTokens.findByHash('h1'), undefined);
  });

  t.test('a name is taken once', async t => {
    const { operatorTokens } = await open(t);
    await operatorTokens.add({ name: 'ann', hash: 'h1', role: 'admin', createdAt: 1 });
    await rejectsWith(t, operatorTokens.add({ name: 'ann', hash: 'h2', role: 'admin', createdAt: 1 }), 'CONFLICT');
    await operatorTokens.add({ name: 'bob', hash: 'h3', role: 'admin', createdAt: 1 });
    t.equal((await operatorTokens.list()).length, 2, 'a refusal does not spoil what comes after it');
  });
}

const joinToken = {
  id: 'tok',
  key: 'a2V5',
  uses: 1,
  expiresAt: 1_000,
  node: null,
  labels: { zone: 'a' },
  createdAt: 0,
} as const;

const attempt = (keyPin: string, more: { node?: string; tokenId?: string; at?: number } = {}) => ({
  tokenId: 'tok',
  keyPin,
  node: 'pi-1',
  chain: `chain of ${keyPin}`,
  at: 10,
  ...more,
});

async function joinContract(t: Test, open: Open): Promise<void> {
  t.test('the same key gets the same answer, another key beyond the uses gets none', async t => {
    const { joinTokens, nodes } = await open(t);
    await joinTokens.add(joinToken);
    t.same(await joinTokens.admit(attempt('k1')), { admitted: true, chain: 'chain of k1', repeated: false });
    const again = await joinTokens.admit({ ...attempt('k1', { at: 5_000 }), chain: 'a newer chain' });
    t.same(again, { admitted: true, chain: 'chain of k1', repeated: true }, 'even when the token has expired since');
    t.match(await joinTokens.admit(attempt('k2', { node: 'pi-2' })), { admitted: false, reason: /1 of 1/ });
    t.equal((await joinTokens.get('tok'))?.used, 1);
    t.same(await joinTokens.joins('tok'), [attempt('k1')]);
    t.match(await nodes.get('pi-1'), { keyPin: 'k1', labels: { zone: 'a' }, joinedAt: 10, state: 'joined' });
    t.equal(await nodes.get('pi-2'), undefined);
  });

  t.test('one use is counted once however many keys ask at the same time', async t => {
    const { joinTokens } = await open(t);
    await joinTokens.add({ ...joinToken, uses: 3 });
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => joinTokens.admit(attempt(`k${i}`, { node: `pi-${i}` }))),
    );
    t.equal(answers.filter(answer => answer.admitted).length, 3);
    t.equal((await joinTokens.get('tok'))?.used, 3);
  });

  t.test('an unknown, an expired and a bound token refuse, each with its reason', async t => {
    const { joinTokens } = await open(t);
    await joinTokens.add(joinToken);
    await joinTokens.add({ ...joinToken, id: 'bound', node: 'pi-9' });
    t.match(await joinTokens.admit(attempt('k1', { tokenId: 'nope' })), { reason: /not known/ });
    t.match(await joinTokens.admit(attempt('k1', { at: 1_000 })), { reason: /expired/ });
    t.match(await joinTokens.admit(attempt('k1', { tokenId: 'bound' })), { reason: /for node pi-9/ });
    t.match(await joinTokens.admit(attempt('k1', { tokenId: 'bound', node: 'pi-9' })), { admitted: true });
  });

  t.test('a key that joined cannot take a second name with the same token', async t => {
    const { joinTokens } = await open(t);
    await joinTokens.add({ ...joinToken, uses: 5 });
    await joinTokens.admit(attempt('k1'));
    t.match(await joinTokens.admit(attempt('k1', { node: 'pi-2' })), { admitted: false, reason: /joined as pi-1/ });
  });

  t.test('those who need an approval wait in a queue with a bound, each once', async t => {
    const { joinTokens, joinRequests } = await open(t);
    const bounds = { pending: 3, pendingOfToken: 2 };
    await joinTokens.add({ ...joinToken, uses: 9, approve: true });
    await joinTokens.add({ ...joinToken, id: 'other', uses: 9, approve: true });
    const ask = (key: string, tokenId = 'tok') =>
      joinTokens.admit(attempt(key.padEnd(20, '0'), { tokenId, node: `pi-${key}` }), bounds);
    const id = (key: string) => key.padEnd(16, '0');
    t.same(await ask('k1'), { admitted: false, pending: id('k1'), isNew: true });
    t.same(await ask('k1'), { admitted: false, pending: id('k1'), isNew: false });
    t.match(await ask('k2'), { pending: id('k2') });
    t.match(await ask('k3'), { pending: null }, 'of one token');
    t.match(await ask('k4', 'other'), { pending: id('k4') });
    t.match(await ask('k5', 'other'), { pending: null }, 'of all');
    t.match(await ask('k1', 'other'), { reason: /its key waits already/ });
    t.match(await joinTokens.admit(attempt('k1'.padEnd(20, '0'), { node: 'pi-9' }), bounds), {
      reason: /waits already/,
    });
    await joinRequests.decide(id('k1'), { state: 'approved', reason: null });
    t.match(await ask('k1'), { admitted: true, repeated: false });
    t.match(await ask('k1'), { admitted: true, repeated: true });
    t.match(await ask('k3'), { pending: id('k3') }, 'there is room again');
    t.equal((await joinRequests.list(joinToken.expiresAt)).length, 0, 'they end with their token');
  });

  t.test('a node in quarantine is freed by a token made for it and a new key alone', async t => {
    const { joinTokens, nodes } = await open(t);
    await joinTokens.add({ ...joinToken, uses: 5 });
    await joinTokens.add({ ...joinToken, id: 'replace', node: 'pi-1', uses: 5 });
    await joinTokens.admit(attempt('k1', { tokenId: 'replace' }));
    await nodes.update('pi-1', { state: 'quarantined', quarantine: 'two of it' });
    t.match(await joinTokens.admit(attempt('k1')), { reason: /in quarantine with this key/ });
    t.match(await joinTokens.admit(attempt('k2')), { reason: /is in quarantine: make a token with --node pi-1/ });
    t.match(await nodes.get('pi-1'), { state: 'quarantined', quarantine: 'two of it' });
    t.match(await joinTokens.admit(attempt('k2', { tokenId: 'replace' })), { admitted: true });
    t.match(await nodes.get('pi-1'), { state: 'joined', quarantine: null, keyPin: 'k2' });
  });

  t.test('a node that was revoked is let in by a token made for it and a new key alone', async t => {
    const { joinTokens, certificates } = await open(t);
    await joinTokens.add({ ...joinToken, uses: 5 });
    await joinTokens.add({ ...joinToken, id: 'replace', node: 'pi-1', uses: 5 });
    await joinTokens.admit(attempt('k1', { tokenId: 'replace' }));
    const own = { serial: '01', kind: 'node', spiffeId: 'spiffe://x/node/pi-1', node: 'pi-1', issuer: 'CA' } as const;
    await certificates.add({ ...own, notBefore: 0, notAfter: 1000, issuedAt: 1 });
    await certificates.revoke({ node: 'pi-1' }, 2);
    t.match(await joinTokens.admit(attempt('k1')), { reason: /was revoked with this key: join with a new one/ });
    t.match(await joinTokens.admit(attempt('k2')), { reason: /was revoked: make a token with --node pi-1/ });
    t.match(await joinTokens.admit(attempt('k2', { tokenId: 'replace' })), { admitted: true });
  });

  t.test('tokens that expired long ago are forgotten', async t => {
    const { joinTokens } = await open(t);
    await joinTokens.add(joinToken);
    await joinTokens.add({ ...joinToken, id: 'later', expiresAt: 2_000 });
    await joinTokens.admit(attempt('k1'));
    t.equal(await joinTokens.trim(1_500), 1);
    t.same(
      (await joinTokens.list()).map(token => token.id),
      ['later'],
    );
  });

  t.test('a name that is taken goes to another key only by a token made for it', async t => {
    const { joinTokens, nodes } = await open(t);
    await joinTokens.add({ ...joinToken, uses: 5 });
    await joinTokens.add({ ...joinToken, id: 'replace', node: 'pi-1' });
    await joinTokens.admit(attempt('k1'));
    await nodes.update('pi-1', { state: 'ready', birth: birth(7) });
    t.match(await joinTokens.admit(attempt('k2')), { admitted: false, reason: /--node pi-1/ });
    t.equal((await joinTokens.get('tok'))?.used, 1, 'a refusal costs no use');
    t.match(await joinTokens.admit(attempt('k2', { tokenId: 'replace' })), { admitted: true });
    t.match(await nodes.get('pi-1'), { keyPin: 'k2', boot: 0, state: 'joined' }, 'a new card counts its boots anew');
  });

  t.test('a removed token lets nobody in, and who came with it stays', async t => {
    const { joinTokens, nodes } = await open(t);
    await joinTokens.add(joinToken);
    await joinTokens.admit(attempt('k1'));
    t.equal(await joinTokens.remove('tok'), true);
    t.equal(await joinTokens.remove('tok'), false);
    t.match(await joinTokens.admit(attempt('k1')), { admitted: false });
    t.same(await joinTokens.list(), []);
    t.ok(await nodes.get('pi-1'));
  });
}

async function nodeContract(t: Test, open: Open): Promise<void> {
  t.test('a node changes only in what is said', async t => {
    const { nodes, ...store } = await open(t);
    await enter(store, 'pi-1', 'pi-2');
    await nodes.update('pi-1', { state: 'ready', lastSeen: 77, birth: birth(3) });
    await nodes.update('pi-1', { state: 'unreachable' });
    await nodes.update('pi-1', {});
    const node = await nodes.get('pi-1');
    t.match(node, { state: 'unreachable', lastSeen: 77, boot: 3, epoch: 0, generation: 0 });
    t.same(node?.birth, birth(3));
    t.match(await nodes.get('pi-2'), { state: 'joined', birth: null, boot: 0 });
    t.same(
      (await nodes.list()).map(each => each.id),
      ['pi-1', 'pi-2'],
    );
  });

  t.test('a node that was removed is not there, and its name joins with another key, by any token', async t => {
    const { nodes, joinTokens } = await open(t);
    await enter({ joinTokens }, 'pi-1', 'pi-2');
    await nodes.update('pi-1', { birth: birth(3), state: 'quarantined' });
    for (const id of ['pi-1', 'pi-2']) await nodes.remove(id);
    t.equal(await nodes.get('pi-1'), undefined);
    t.same(
      (await nodes.list()).map(each => each.id),
      ['pi-2'],
      'one that is not in quarantine stays',
    );
    await joinTokens.add({ ...joinToken, id: 'next', uses: 5 });
    const before = attempt('key of pi-1', { tokenId: 'next' });
    t.match(await joinTokens.admit(before), { admitted: false, reason: /pi-1 was deleted with this key/ });
    t.match(await joinTokens.admit({ ...before, keyPin: 'k-new' }), { admitted: true });
    t.match(await nodes.get('pi-1'), { keyPin: 'k-new', state: 'joined', birth: null, boot: 0 });
  });

  t.test('a node that is not there cannot change', async t => {
    const { nodes } = await open(t);
    await rejectsWith(t, nodes.update('pi-1', { state: 'ready' }), 'NOT_FOUND');
  });
}

async function documentContract(t: Test, open: Open): Promise<void> {
  const ref = { kind: 'Job', namespace: 'default', name: 'hello' };

  t.test('a document is created, then unchanged, then configured, and removed', async t => {
    const { documents } = await open(t);
    t.match(await documents.apply([{ ...ref, json: '{"a":1}' }], 5), [{ ...ref, result: 'created', revision: 1 }]);
    t.match(await documents.apply([{ ...ref, json: '{"a":1}' }], 6), [{ result: 'unchanged', revision: 1 }]);
    t.match(await documents.apply([{ ...ref, json: '{"a":2}' }], 7), [{ result: 'configured', revision: 2 }]);
    t.same(await documents.get(ref), { ...ref, json: '{"a":2}', revision: 2, createdAt: 5, updatedAt: 7 });
    t.equal(await documents.remove(ref), 3);
    t.equal(await documents.remove(ref), undefined);
    t.equal(await documents.get(ref), undefined);
    t.match(await documents.apply([{ ...ref, json: '{"a":1}' }], 8), [{ result: 'created', revision: 4 }]);
    t.equal(await documents.revision(), 4);
  });

  t.test('what is applied together has one revision', async t => {
    const { documents } = await open(t);
    const outcomes = await documents.apply(
      ['b', 'a'].map(name => ({ ...ref, name, json: '{}' })),
      1,
    );
    t.same(
      outcomes.map(outcome => outcome.revision),
      [1, 1],
    );
    await documents.apply([{ ...ref, kind: 'AuthorizationPolicy', json: '{}' }], 1);
    t.same(
      (await documents.list('Job')).map(document => document.name),
      ['a', 'b'],
    );
    t.equal((await documents.list()).length, 3);
    t.same(await documents.list('Job', 'AuthorizationPolicy'), await documents.list());
  });
}

export const newTask = (id: string, more: Partial<NewTask> = {}): NewTask => ({
  id,
  job: 'hello',
  namespace: 'default',
  label: '0',
  type: 'service',
  priority: 50,
  role: '*',
  template: 'a',
  position: 0,
  submittedAt: 100,
  ...more,
});

export const taskSpec = (id: string): TaskSpec => ({
  id,
  job: 'hello',
  namespace: 'default',
  labels: {},
  type: 'service',
  command: ['true'],
  env: {},
  resources: { scalars: { cpus: 100 }, ranges: {}, sets: {} },
  ports: [{ name: 'http', protocol: 'http', number: 20_000 }],
  upstreams: [],
  serviceAccount: 'default',
  killGraceMs: 5_000,
  restart: { policy: 'always', attempts: 3, backoffMs: 1, maxBackoffMs: 2, resetAfterMs: 3 },
});

const status = (task: string, uuid: string, state: TaskState, more: Partial<TaskStatus> = {}): TaskStatus => ({
  uuid,
  task,
  state,
  at: 200,
  ...more,
});

export const placement = (task: string, node: string): Placement => ({
  task,
  node,
  spec: taskSpec(task),
  expectedEndAt: 900,
  status: status(task, `placed-${task}`, 'TASK_STAGING'),
});

async function taskContract(t: Test, open: Open): Promise<void> {
  t.test('tasks are inserted together or not at all', async t => {
    const { tasks } = await open(t);
    const many = Array.from({ length: 1_200 }, (_, i) => newTask(`t${i}`, { position: i }));
    await tasks.insert(many);
    t.equal((await tasks.list()).length, 1_200);
    await rejectsWith(t, tasks.insert([newTask('fresh'), newTask('t7')]), 'CONFLICT');
    t.equal(await tasks.get('fresh'), undefined);
    t.match(await tasks.get('t7'), {
      ...newTask('t7', { position: 7 }),
      node: null,
      state: 'TASK_STAGING',
      spec: null,
    });
  });

  t.test('tasks are found by job, node and state, in their order', async t => {
    const { tasks, assignments, ...store } = await open(t);
    await enter(store, 'pi-1');
    await tasks.insert([
      newTask('b', { position: 1 }),
      newTask('a', { position: 0 }),
      newTask('other', { job: 'other', submittedAt: 50 }),
    ]);
    await assignments.place([placement('b', 'pi-1')]);
    await tasks.recordStatuses([status('b', 'u1', 'TASK_RUNNING')], { node: 'pi-1', receivedAt: 1 });
    const ids = async (filter: Parameters<typeof tasks.list>[0]) => (await tasks.list(filter)).map(task => task.id);
    t.same(await ids({}), ['other', 'a', 'b']);
    t.same(await ids({ job: 'hello', namespace: 'default' }), ['a', 'b']);
    t.same(await ids({ namespace: 'elsewhere' }), []);
    t.same(await ids({ node: 'pi-1' }), ['b']);
    t.same(await ids({ states: ['TASK_STAGING'] }), ['other', 'a']);
  });

  t.test('the ended tasks of a removed job are forgotten, the others stay', async t => {
    const { tasks } = await open(t);
    await tasks.insert([newTask('ended'), newTask('live'), newTask('other', { job: 'other' })]);
    const ended = ['ended', 'other'].map(id => status(id, `u-${id}`, 'TASK_FINISHED'));
    await tasks.recordStatuses(ended, { node: null, receivedAt: 1 });
    t.equal(await tasks.removeEnded({ namespace: 'elsewhere', job: 'hello' }), 0);
    t.equal(await tasks.removeEnded({ namespace: 'default', job: 'hello' }), 1);
    t.same((await tasks.list()).map(task => task.id).sort(), ['live', 'other']);
  });

  t.test('ended tasks are forgotten, but not the results of a batch that is still there', async t => {
    const { tasks, documents } = await open(t);
    for (const name of ['kept', 'hello']) {
      await documents.apply([{ kind: 'Job', namespace: 'default', name, json: '{}' }], 1);
    }
    const batch = { type: 'batch', job: 'kept' } as const;
    await tasks.insert([newTask('result', batch), newTask('gone', { ...batch, job: 'gone' }), newTask('live')]);
    await tasks.insert([newTask('old'), newTask('new')]);
    const master = { node: null, receivedAt: 1 };
    for (const [id, at] of Object.entries({ result: 1, gone: 2, old: 3, new: 4 })) {
      await tasks.recordStatuses([status(id, `u-${id}`, 'TASK_KILLED', { at })], master);
    }
    t.equal(await tasks.trimEnded(1), 2);
    t.same((await tasks.list()).map(task => task.id).sort(), ['live', 'new', 'result']);
    t.same(await tasks.history('old'), []);
  });
}

async function statusContract(t: Test, open: Open): Promise<void> {
  const fromNode = { node: 'pi-1', receivedAt: 300 };
  const opened = async (t: Test) => {
    const store = await open(t);
    await enter(store, 'pi-1', 'pi-2');
    await store.tasks.insert([newTask('a')]);
    await store.assignments.place([placement('a', 'pi-1')]);
    return store;
  };

  t.test('a status moves its task once, however often it is repeated', async t => {
    const { tasks } = await opened(t);
    const running = status('a', 'u1', 'TASK_RUNNING', { ready: true, pid: 42, at: 210 });
    const ended = status('a', 'u2', 'TASK_FAILED', {
      exitCode: 3,
      ranMs: 90,
      at: 300,
      reason: 'REASON_COMMAND_FAILED',
    });
    t.same(await tasks.recordStatuses([running], fromNode), ['new']);
    t.match(await tasks.get('a'), { state: 'TASK_RUNNING', ready: true, pid: 42, startedAt: 210, endedAt: null });
    t.same(await tasks.recordStatuses([running, ended, ended], fromNode), ['repeated', 'new', 'repeated']);
    t.match(await tasks.get('a'), { state: 'TASK_FAILED', ready: false, exitCode: 3, ranMs: 90, endedAt: 300 });
    t.match(await tasks.get('a'), { startedAt: 210, reason: 'REASON_COMMAND_FAILED', pid: null });
    t.same((await tasks.history('a')).slice(1), [running, ended]);
  });

  t.test('a terminal state is final', async t => {
    const { tasks } = await opened(t);
    await tasks.recordStatuses([status('a', 'u1', 'TASK_FINISHED', { ready: true })], fromNode);
    t.same(await tasks.recordStatuses([status('a', 'u2', 'TASK_RUNNING', { ready: true })], fromNode), ['new']);
    t.match(await tasks.get('a'), { state: 'TASK_FINISHED', ready: false });
    t.equal((await tasks.history('a')).at(-1)?.uuid, 'u2', 'and is only told');
  });

  t.test('a node speaks only of its own tasks, the master of all', async t => {
    const { tasks } = await opened(t);
    const lie = status('a', 'u1', 'TASK_FINISHED');
    t.same(await tasks.recordStatuses([lie], { node: 'pi-2', receivedAt: 1 }), ['unknown']);
    t.same(await tasks.recordStatuses([{ ...lie, task: 'none' }], fromNode), ['unknown']);
    t.match(await tasks.get('a'), { state: 'TASK_STAGING' });
    t.same(await tasks.recordStatuses([lie], { node: null, receivedAt: 1 }), ['new']);
  });

  t.test('the history of a task is bounded and keeps the newest', async t => {
    const { tasks } = await opened(t);
    const many = Array.from({ length: 250 }, (_, i) => status('a', `u${i}`, 'TASK_RUNNING', { restarts: i }));
    await tasks.recordStatuses(many, fromNode);
    const kept = await tasks.history('a');
    t.equal(kept.length, 200);
    t.equal(kept.at(-1)?.uuid, 'u249');
    t.equal((await tasks.get('a'))?.restarts, 249);
  });
}

async function assignmentContract(t: Test, open: Open): Promise<void> {
  t.test('a placement reaches its task and raises the generation of each node it touches, once', async t => {
    const { tasks, assignments, meta, ...store } = await open(t);
    await enter(store, 'pi-1', 'pi-2', 'pi-3');
    await meta.nextEpoch();
    await tasks.insert(['a', 'b', 'c'].map(id => newTask(id)));
    const versions = await assignments.place([placement('a', 'pi-1'), placement('b', 'pi-1'), placement('c', 'pi-2')]);
    t.same(
      versions.sort((x, y) => x.node.localeCompare(y.node)),
      [
        { node: 'pi-1', epoch: 1, generation: 1 },
        { node: 'pi-2', epoch: 1, generation: 1 },
      ],
    );
    t.match(await tasks.get('a'), { node: 'pi-1', state: 'TASK_STAGING', spec: taskSpec('a'), expectedEndAt: 900 });
    t.match(await tasks.history('a'), [{ uuid: 'placed-a' }], 'and is told of in the same moment');
    const expected = { node: 'pi-1', epoch: 1, generation: 1, tasks: [taskSpec('a'), taskSpec('b')] };
    t.same(await assignments.of('pi-1'), expected);
    t.same(await assignments.of('pi-3'), { node: 'pi-3', epoch: 0, generation: 0, tasks: [] });
    t.equal(await assignments.of('pi-4'), undefined);
    await meta.nextEpoch();
    t.same(await assignments.of('pi-1'), expected, 'a new master alone changes no assignment');
  });

  t.test('a version is known that was made here, also under an epoch that is over', async t => {
    const { tasks, assignments, meta, ...store } = await open(t);
    await enter(store, 'pi-1');
    const knows = (epoch: number, generation: number) => assignments.isKnown({ node: 'pi-1', epoch, generation });
    const place = async (id: string) => {
      await tasks.insert([newTask(id)]);
      const [version] = await assignments.place([placement(id, 'pi-1')]);
      return version;
    };
    t.ok(await knows(0, 0), 'nothing is held');
    t.notOk(await knows(7, 1));
    await meta.nextEpoch(10);
    await place('a');
    t.match(await place('b'), { epoch: 10, generation: 2 });
    await meta.nextEpoch(20);
    t.match(await place('c'), { epoch: 20, generation: 3 });
    t.same(await Promise.all([knows(10, 1), knows(10, 2), knows(20, 3), knows(9, 1)]), [true, true, true, true]);
    t.same(await Promise.all([knows(10, 3), knows(15, 3), knows(20, 4), knows(21, 1)]), [false, false, false, false]);
    for (let epoch = 30; epoch < 80; epoch++) {
      await meta.nextEpoch(epoch);
      await place(`t${epoch}`);
    }
    t.same(await Promise.all([knows(10, 2), knows(79, 53), knows(79, 54)]), [true, true, false]);
  });

  t.test('a version that is adopted is known, and what follows is newer', async t => {
    const { tasks, assignments, meta, ...store } = await open(t);
    await enter(store, 'pi-1');
    await meta.nextEpoch(10);
    await tasks.insert([newTask('a')]);
    await assignments.place([placement('a', 'pi-1')]);
    await assignments.adopt({ node: 'pi-1', epoch: 12, generation: 40 });
    t.match(await assignments.of('pi-1'), { epoch: 13, generation: 41 });
    t.ok(await assignments.isKnown({ node: 'pi-1', epoch: 12, generation: 40 }));
  });

  t.test('all placements of a round or none', async t => {
    const { tasks, assignments, ...store } = await open(t);
    await enter(store, 'pi-1');
    await tasks.insert([newTask('a'), newTask('b')]);
    await assignments.place([placement('a', 'pi-1')]);
    await rejectsWith(t, assignments.place([placement('b', 'pi-1'), placement('a', 'pi-1')]), 'CONFLICT');
    await rejectsWith(t, assignments.place([placement('b', 'pi-7')]), 'NOT_FOUND');
    t.match(await tasks.get('b'), { node: null, spec: null });
    t.match(await assignments.of('pi-1'), { generation: 1 });
  });

  t.test('a stopped task leaves its assignment and keeps its node until it has ended', async t => {
    const { tasks, assignments, ...store } = await open(t);
    await enter(store, 'pi-1');
    await tasks.insert([newTask('a'), newTask('b'), newTask('waiting')]);
    await assignments.place([placement('a', 'pi-1'), placement('b', 'pi-1')]);
    t.same(await assignments.stop(['a', 'waiting', 'none']), [{ node: 'pi-1', epoch: 0, generation: 2 }]);
    t.same(await assignments.stop(['a']), [], 'it is only said once');
    t.match(await tasks.get('a'), { node: 'pi-1', stopping: true });
    t.match(await tasks.get('waiting'), { stopping: false });
    t.same(
      (await assignments.of('pi-1'))?.tasks.map(spec => spec.id),
      ['b'],
    );
    await tasks.recordStatuses([status('a', 'u1', 'TASK_KILLED')], { node: 'pi-1', receivedAt: 1 });
    t.match(await assignments.of('pi-1'), { generation: 2 }, 'the assignment did not change');
  });

  t.test('a task that has ended leaves its assignment, which is a new generation', async t => {
    const { tasks, assignments, ...store } = await open(t);
    await enter(store, 'pi-1');
    await tasks.insert([newTask('a'), newTask('b')]);
    await assignments.place([placement('a', 'pi-1'), placement('b', 'pi-1')]);
    const source = { node: 'pi-1', receivedAt: 1 };
    await tasks.recordStatuses([status('a', 'u1', 'TASK_RUNNING')], source);
    t.match(await assignments.of('pi-1'), { generation: 1 });
    await tasks.recordStatuses([status('a', 'u2', 'TASK_FINISHED'), status('b', 'u3', 'TASK_FINISHED')], source);
    t.same(await assignments.of('pi-1'), { node: 'pi-1', epoch: 0, generation: 2, tasks: [] });
    await tasks.recordStatuses([status('a', 'u2', 'TASK_FINISHED')], source);
    t.match(await assignments.of('pi-1'), { generation: 2 });
  });
}

async function frameworkContract(t: Test, open: Open): Promise<void> {
  const info = { user: 'u', name: 'n', failover_timeout: 5, capabilities: [] };
  const framework = { id: 'f', principal: 'ci', info, registeredAt: 1, reregisteredAt: 1, removedAt: null };
  const launch = (id: string, node = 'pi-1') => ({
    task: newTask(id),
    framework: 'f',
    frameworkTask: `name of ${id}`,
    placement: placement(id, node),
  });
  const fromNode = { node: 'pi-1', receivedAt: 300 };

  t.test('a framework is what it said last, and the newest removed ones are kept', async t => {
    const { frameworks } = await open(t);
    await frameworks.put(framework);
    await frameworks.put({ ...framework, info: { ...info, name: 'renamed' }, reregisteredAt: 2 });
    for (const [i, id] of ['a', 'b', 'c'].entries()) {
      await frameworks.put({ ...framework, id, registeredAt: 10 + i });
      await frameworks.remove(id, 100 + i);
    }
    t.match(await frameworks.list(), [
      { id: 'f', info: { name: 'renamed' }, removedAt: null },
      {},
      {},
      { removedAt: 102 },
    ]);
    t.equal(await frameworks.trimRemoved(1), 2);
    t.same(
      (await frameworks.list()).map(({ id }) => id),
      ['f', 'c'],
    );
  });

  t.test('launches come all or none, and raise the generation of their nodes', async t => {
    const store = await open(t);
    await enter(store, 'pi-1');
    await rejectsWith(t, store.frameworks.launch([launch('a'), launch('b', 'nowhere')]), 'NOT_FOUND');
    t.same(await store.tasks.list(), []);
    t.match(await store.frameworks.launch([launch('a'), launch('b')]), [{ node: 'pi-1', generation: 1 }]);
    await rejectsWith(t, store.frameworks.launch([launch('c'), launch('a')]), 'CONFLICT');
    t.equal(await store.tasks.countLive('f'), 2);
    t.match(await store.tasks.ofFramework('f', 'name of a'), { id: 'a', framework: 'f', node: 'pi-1' });
    t.equal(await store.tasks.ofFramework('other', 'name of a'), undefined);
    t.match(await store.tasks.list({ framework: 'f' }), [{ id: 'a' }, { id: 'b' }]);
    t.same(await store.tasks.list({ framework: null }), []);
  });

  t.test('updates are told in order until they are acknowledged; the word of the placement is not', async t => {
    const store = await open(t);
    await enter(store, 'pi-1');
    await store.frameworks.launch([launch('a')]);
    t.same(await store.frameworks.unacknowledged('f'), []);
    const [running, ended] = [status('a', 'u1', 'TASK_RUNNING'), status('a', 'u2', 'TASK_FINISHED')];
    await store.tasks.recordStatuses([running, ended], fromNode);
    t.same(await store.frameworks.unacknowledged('f'), ['a']);
    const first = await store.frameworks.nextUpdate('a');
    t.same(first?.status, running);
    await store.frameworks.acknowledge('a', first?.position ?? 0);
    const second = await store.frameworks.nextUpdate('a');
    t.same(second?.status, ended);
    await store.frameworks.acknowledge('a', second?.position ?? 0);
    await store.frameworks.acknowledge('a', first?.position ?? 0);
    t.equal(await store.frameworks.nextUpdate('a'), undefined, 'an old word takes nothing back');
    t.same(await store.frameworks.unacknowledged('f'), []);
    t.match(await store.tasks.newestEnded(5), [{ id: 'a' }]);
    t.same(await store.tasks.counts(), new Map([['TASK_FINISHED', 1]]));
  });
}

async function enter({ joinTokens }: Pick<Store, 'joinTokens'>, ...ids: readonly string[]): Promise<void> {
  await joinTokens.add({ ...joinToken, id: 'enter', uses: 100, expiresAt: 1e15 });
  for (const id of ids) await joinTokens.admit(attempt(`key of ${id}`, { tokenId: 'enter', node: id }));
}

const birth = (boot: number) => ({
  v: 1 as const,
  boot,
  seq: 0,
  ts: 1,
  version: '1.0.0',
  profile: 'generic',
  inventory: {
    arch: 'x64',
    cpuModel: 'c',
    cpuCount: 2,
    memoryMb: 1_000,
    deviceTreeModel: '',
    dmiProduct: '',
    virtual: true,
    os: 'linux',
    kernel: '6',
  },
  total: { scalars: { cpus: 4_000 }, ranges: {}, sets: {} },
  attributes: {},
  address: '127.0.0.1',
  meshPort: 15_000,
  heartbeatMs: 10_000,
  usage: { cpu: 0.1, memUsedMb: 1, diskUsedMb: 2, agentRssMb: 3, load1: 0.5 },
  held: '',
  epoch: 0,
  generation: 0,
  tasks: [],
});

async function rejectsWith(t: Test, promise: Promise<unknown>, code: string): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  t.ok(isMesoliteError(error) && error.code === code, `expected ${code}, got ${String(error)}`);
}
