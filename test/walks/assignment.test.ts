/** Walk 3: a job sent to the API becomes real children on a node, and what becomes of them comes back, committed, to whoever asks. */
import { createHash, X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeApiClient } from '../../src/cli/api-client.ts';
import { taskListSchema } from '../../src/model/api.ts';
import type { OutputFrame } from '../../src/model/output.ts';
import { putSecretResultSchema } from '../../src/model/secret.ts';
import {
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
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const masterSettings = await masterConfig(join(home, 'master'), ports);
// they live on from one test to the next
const startMaster = () => runMaster(t, masterSettings);
const startAgent = () => runAgent(t, agent.config);
let master = await startMaster();
let agent = await joinAgent(
  t,
  master,
  { dataDir: join(home, 'node'), node: 'node', allowExec: true, heartbeatMs: 1_000 },
  ports,
);
const { api } = master;

const shell = (script: string) => ({ type: 'batch', command: ['/bin/sh', '-c', script] });
const lines = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []);

t.test('a task runs to its end: its states, its exit status and its output are there to see', async t => {
  await api.apply(job('greet', shell('echo "hello from $MESOLITE_NODE"; echo oops >&2')));
  const [task] = await untilTasks(api, 'greet', 'TASK_FINISHED');
  t.match(task, { node: 'node', exitCode: 0, restarts: 0, job: 'greet', type: 'batch' });
  const { history } = await api.task(task?.id ?? '');
  const states = history.map(status => status.state);
  t.strictSame(states, ['TASK_STAGING', 'TASK_STARTING', 'TASK_RUNNING', 'TASK_FINISHED']);
  t.equal(await api.output(task?.id ?? ''), 'hello from node\n');
});

t.test('an output is followed from the node to whoever asks, until its task ends', async t => {
  const go = join(home, 'go');
  const script = `echo first; until [ -e ${go} ]; do sleep 0.05; done; echo last`;
  await api.apply(job('follow', { ...shell(script), type: 'batch' }));
  const [task] = await untilTasks(api, 'follow', 'TASK_RUNNING');
  let text = '';
  const follow = () =>
    api.client.stream('GET', `/v1/tasks/${task?.id}/log?follow=true`, ({ data = '' }) => {
      text += data;
      if (text.includes('first')) writeFileSync(go, '');
    });
  await follow();
  t.equal(text, 'first\nlast\n');
  text = '';
  await follow();
  t.equal(text, 'first\nlast\n', 'one that has ended is told to its end');
});

t.test('a command runs next to a task; it is an event, and in the audit of its node', async t => {
  await api.apply(job('host', { command: ['sleep', '1000'], env: { WHO: 'host' } }));
  const [task] = await untilTasks(api, 'host', 'TASK_RUNNING');
  const frames: OutputFrame[] = [];
  await api.client.stream('POST', `/v1/tasks/${task?.id}/exec`, frame => void frames.push(frame), {
    command: ['sh', '-c', 'echo "I am $WHO"; cat; exit 5'],
    stdin: 'and this\n',
  });
  t.equal(frames.map(({ data }) => data).join(''), 'I am host\nand this\n');
  t.equal(frames.at(-1)?.exit, 5);
  const said = `admin runs "sh" next to ${task?.id}`;
  await until('the event is there', async () => (await api.events('exec')).some(({ message }) => message === said));
  const record = await until('it is in the audit', async () =>
    (await api.audit()).map(entry => entry.record).find(({ direction }) => direction === 'exec'),
  );
  t.match(record, { source: 'operator/admin', task: task?.id, path: 'sh and 2 arguments', verdict: 'allow' });
  await api.remove('Job', 'host');
  await untilTasks(api, 'host', 'TASK_KILLED');
});

t.test('a task gets its secrets, which lie nowhere in clear; a new value replaces it', async t => {
  const put = (value: string) =>
    api.client.put(
      '/v1/secrets/default/token',
      { value: Buffer.from(value).toString('base64') },
      putSecretResultSchema,
    );
  const uses = job('keeper', {
    command: ['/bin/sh', '-c', 'printf %s "$TOKEN" | sha256sum; sha256sum <"$MESOLITE_SECRETS/token"; exec sleep 1000'],
    secrets: [
      { name: 'token', env: 'TOKEN' },
      { name: 'token', file: 'token' },
    ],
  });
  await t.rejects(api.apply(uses), { code: 'INVALID_INPUT', message: /there is no secret default\/token/ });
  let before: string | undefined;
  for (const value of ['correct-horse-battery', 'staple-of-another-kind']) {
    await put(value);
    if (before === undefined) await api.apply(uses);
    const task = await until('it runs with this value', async () =>
      (await api.tasks('keeper')).find(({ id, state }) => state === 'TASK_RUNNING' && id !== before),
    );
    const hash = createHash('sha256').update(value).digest('hex');
    await until('it has said what it was given', async () => (await api.output(task.id)).split(hash).length === 3);
    t.notOk(holds(home, value), 'neither the master nor the node has it on the disk');
    before = task.id;
  }
  t.notMatch(JSON.stringify(await api.documents()), /correct-horse|staple/);
  await t.rejects(api.client.remove('/v1/secrets/default/token'), { code: 'CONFLICT' });
  await api.remove('Job', 'keeper');
  await until('its tasks have ended', async () =>
    (await api.tasks('keeper')).every(({ state }) => state === 'TASK_KILLED'),
  );
  await api.client.remove('/v1/secrets/default/token');
});

t.test('a task that asks for its identity has it as files before it starts', async t => {
  const script = 'ls -L "$MESOLITE_IDENTITY"; cat "$MESOLITE_IDENTITY/svid.pem"';
  await api.apply(job('shows', { ...shell(script), identity: true, serviceAccount: 'shown' }));
  const [task] = await untilTasks(api, 'shows', 'TASK_FINISHED');
  const said = await api.output(task?.id ?? '');
  t.match(said, 'svid.pem\nsvid_bundle.pem\nsvid_key.pem\n');
  const certificate = new X509Certificate(said.slice(said.indexOf('-----BEGIN')));
  t.equal(certificate.subjectAltName, `URI:spiffe://${trustDomain}/ns/default/sa/shown`);
});

/** Has a file below `directory` this text, plain or in base64? */
function holds(directory: string, text: string): boolean {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).some(name => {
    try {
      const content = readFileSync(join(directory, name), 'latin1');
      return content.includes(text) || content.includes(Buffer.from(text).toString('base64').slice(0, 20));
    } catch {
      // a directory, or gone meanwhile
      return false;
    }
  });
}

t.test('how far a task is can be seen and followed, and is known to the next master', async t => {
  const gate = join(home, 'progressed');
  const script = `echo "40 resizing" > "$MESOLITE_PROGRESS"; while [ ! -e ${gate} ]; do sleep 0.05; done`;
  const watching = new AbortController();
  const seen: string[] = [];
  const watched = makeApiClient(api.context, watching.signal).watch(
    '/v1/tasks/watch?job=resize',
    taskListSchema,
    event => {
      for (const { state, progress } of event.tasks) seen.push(`${state} ${progress?.percent}`);
    },
  );
  await api.apply(job('resize', shell(script)));
  const isTold = async () => (await master.api.tasks('resize')).find(each => each.progress?.percent === 40);
  t.match(await until('it is told', isTold), { state: 'TASK_RUNNING', progress: { message: 'resizing' } });
  await until('who follows is told too', () => seen.includes('TASK_RUNNING 40'));
  watching.abort();
  await watched;
  await master.stop();
  master = await startMaster();
  await until('the node has told the next master', isTold);
  writeFileSync(gate, '');
  t.match(await untilTasks(master.api, 'resize', 'TASK_FINISHED'), [{ progress: null }]);
});

t.test('a task that fails says with which code', async t => {
  await api.apply(job('fail', shell('exit 7')));
  const [task] = await untilTasks(api, 'fail', 'TASK_FAILED');
  t.match(task, { exitCode: 7, reason: 'REASON_COMMAND_EXECUTOR_FAILED', message: /exit code 7/ });
});

t.test('a command that is not there fails its task with the reason, and the agent lives on', async t => {
  await api.apply(job('absent', { type: 'service', command: ['no-such-program', '--now'] }));
  const [task] = await untilTasks(api, 'absent', 'TASK_FAILED');
  t.match(task, { message: /no-such-program/, restarts: 0, exitCode: null });
  await api.apply(job('after', shell('exit 0')));
  await untilTasks(api, 'after', 'TASK_FINISHED');
});

t.test('a job that is deleted ends its tasks with all that they started', async t => {
  const pids = join(home, 'pids');
  await api.apply(job('stays', { command: ['/bin/sh', '-c', `sleep 1000 & echo "$$ $!" > ${pids}; wait`] }));
  const [task] = await untilTasks(api, 'stays', 'TASK_RUNNING');
  const [own, child] = await until('it has written who it is', () => lines(pids)[0]?.split(' ').map(Number));
  t.ok(lives(own) && lives(child));
  await api.remove('Job', 'stays');
  await untilTasks(api, 'stays', 'TASK_KILLED');
  t.notOk(lives(own) || lives(child), 'nothing of it is left');
  const { history } = await api.task(task?.id ?? '');
  t.strictSame(
    history.slice(-2).map(status => status.state),
    ['TASK_KILLING', 'TASK_KILLED'],
  );
  t.equal((await api.tasks('stays')).length, 1, 'and none was started in its place');
});

t.test('where not all fit at once, the highest priority goes first, and the ledger says what is free', async t => {
  const [node] = await api.nodes();
  const total = node?.total.scalars.cpus ?? 0;
  const order = join(home, 'order');
  const tasks = [
    ['low', 10],
    ['high', 90],
    ['middle', 50],
  ].map(([name, priority]) => ({ name, priority }));
  await api.apply(
    job('scarce', {
      ...shell(`echo "$MESOLITE_TASK" >> ${order}`),
      resources: { cpus: (0.6 * total) / 1000 },
      tasks,
    }),
  );
  await untilTasks(api, 'scarce', 'TASK_FINISHED');
  const names = lines(order).map(id => /scarce\.default\.(\w+)-/.exec(id)?.[1]);
  t.strictSame(names, ['high', 'middle', 'low']);
  await until('all is free again', async () => (await api.nodes())[0]?.free.scalars.cpus === total);
});

t.test('a task that fits nowhere waits, and says why', async t => {
  await api.apply(job('huge', { ...shell('exit 0'), resources: { cpus: 1000 } }));
  const task = await until('it is known why it waits', async () =>
    (await api.tasks('huge')).find(each => each.message),
  );
  t.match(task, { state: 'TASK_STAGING', node: null, waiting: [{ node: 'node', why: /needs 1000 cpus/ }] });
  await api.remove('Job', 'huge');
  t.strictSame(await api.tasks('huge'), [], 'withdrawn, it was never more than a wish');
});

t.test('what has ended is said again by an agent that starts again without a master, and is not run again', async t => {
  const runs = join(home, 'runs');
  const restart = { policy: 'onFailure', attempts: 2, backoff: '1ms', maxBackoff: '1ms' };
  const gate = join(home, 'gate');
  const script = `while [ ! -e ${gate} ]; do sleep 0.05; done; echo run >> ${runs}; exit 3`;
  await api.apply(job('flaky', { ...shell(script), restart }));
  const [task] = await untilTasks(api, 'flaky', 'TASK_RUNNING');
  await master.stop();
  writeFileSync(gate, '');
  const isEnd = (name: string) => /^ended-[0-9a-f]+$/.test(name);
  await until('its end is on the disk', () => readdirSync(join(home, 'node')).some(isEnd));
  t.equal(lines(runs).length, 2);
  await agent.stop();

  agent = await startAgent();
  await agent.stop();
  agent = await startAgent();
  t.equal(lines(runs).length, 2, 'not run again');
  master = await startMaster();
  await untilReady(master.api, 'node');
  const [failed] = await untilTasks(master.api, 'flaky', 'TASK_FAILED');
  t.match(failed, { id: task?.id, exitCode: 3, restarts: 1, message: /failure 2 in a row/ });
  const { history } = await master.api.task(task?.id ?? '');
  t.equal(history.filter(status => status.state === 'TASK_FAILED').length, 1, 'said three times, one report');
  t.equal(lines(runs).length, 2);
});
