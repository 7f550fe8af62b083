import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Artifacts } from '../../src/agent/artifacts.ts';
import { cgroupLimitsOf } from '../../src/agent/task-limits.ts';
import { makeTaskRunner } from '../../src/agent/task-runner.ts';
import { dayMs } from '../../src/base/clock.ts';
import { MesoliteError } from '../../src/base/errors.ts';
import { silentLog } from '../../src/base/log.ts';
import { systemClock } from '../../src/device/clock.ts';
import { makeProcesses } from '../../src/device/process.ts';
import type { TaskSpec, TaskStatus } from '../../src/model/task.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { restarting, taskSpec } from '../fixtures/task-spec.ts';

const processes = makeProcesses({ clock: systemClock }, { pollMs: 20 });

interface Start {
  readonly artifacts?: Pick<Artifacts, 'place'>;
  readonly directory?: string;
  readonly hasEnded?: boolean;
}

/** A runner of `script`, with real processes; its own time stands still until the test moves it. */
function stage(t: Test, script: string, changes: Partial<TaskSpec> = {}, start: Start = {}) {
  const { directory = t.testdir(), hasEnded = false, artifacts = { place: async () => {} } } = start;
  const clock = new FakeClock();
  const watching = new AbortController();
  const heard: TaskStatus[] = [];
  const ready: boolean[] = [];
  let ids = 0;
  let onNews = () => {};
  const hear = (status: TaskStatus) => {
    heard.push(status);
    onNews();
  };
  const spec = taskSpec({ command: ['/bin/sh', '-c', script], ...changes });
  const runner = makeTaskRunner(
    {
      processes,
      lower: async () => ({ prefix: [] }),
      clock,
      random: () => 1,
      newId: () => `status-${++ids}`,
      log: silentLog,
      environmentOf: ({ env }) => ({ PATH: '/usr/bin:/bin', ...env }),
      artifacts,
      identities: { ready: async () => {} },
      onStatus: hear,
      onReady: each => ready.push(each),
      onEnded: hear,
    },
    { spec, directory, hasEnded },
    watching.signal,
  );
  t.teardown(async () => {
    watching.abort();
    const left = await processes.adopt(directory, new AbortController().signal);
    if (left.result !== 'running') return;
    left.process.signal('SIGKILL');
    await left.process.exited;
  });
  /** The first status of that state from the `from`th on. */
  const until = async (state: TaskStatus['state'], from = 0): Promise<TaskStatus> => {
    for (;;) {
      const found = heard.slice(from).find(status => status.state === state);
      if (found !== undefined) return found;
      await new Promise<void>(resolve => {
        onNews = resolve;
      });
    }
  };
  const states = () => heard.map(status => status.state);
  return { directory, clock, runner, heard, ready, until, states, stopWatching: () => watching.abort() };
}

/** Says on the pipe `up` that it is up, and runs until the file `go` is there. */
const untilGo = 'echo up > ../up; while [ ! -e ../go ]; do sleep 0.02; done';

/** Lets a task say that it is up; the returned function waits for that. */
function pipeOf(directory: string): () => Promise<string> {
  const pipe = join(directory, 'up');
  execFileSync('mkfifo', [pipe]);
  return () => readFile(pipe, 'utf8');
}

t.test('a task runs to its end, and each status is told once, with what is known', async t => {
  const { directory, runner, until, states, heard } = stage(t, 'echo "$GREETING"; exit 0', {
    env: { GREETING: 'hello' },
  });
  t.equal(runner.status, undefined);
  await runner.begin();
  const end = await until('TASK_FINISHED');
  t.same(states(), ['TASK_STARTING', 'TASK_RUNNING', 'TASK_FINISHED']);
  t.match(heard[1], { task: 'hello.default.a1', pid: Number, restarts: 0, ready: true });
  t.match(end, { exitCode: 0, ready: false, message: 'exit code 0' });
  t.equal(new Set(heard.map(status => status.uuid)).size, 3);
  t.ok(runner.ended);
  t.equal(readFileSync(join(directory, 'stdout.log'), 'utf8'), 'hello\n');
});

t.test('a program that is not there fails its task with the reason', async t => {
  const { runner, until, states } = stage(t, '', { command: ['no-such-program'] });
  await runner.begin();
  t.match(await until('TASK_FAILED'), { message: /no-such-program: command not found/ });
  t.same(states(), ['TASK_STARTING', 'TASK_FAILED']);
});

t.test('a task tells how far its artifacts are, and is killed while they come', async t => {
  const place: Artifacts['place'] = (_artifacts, _directory, say, signal) => {
    say('fetching app: 42 % of 9.0 MB');
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  };
  const { runner, until, heard, states } = stage(t, 'exit 0', {}, { artifacts: { place } });
  await runner.begin();
  t.match(await until('TASK_STARTING', 1), { message: 'fetching app: 42 % of 9.0 MB' });
  runner.kill('the job was removed');
  t.match(await until('TASK_KILLED'), { message: 'the job was removed', reason: 'REASON_TASK_KILLED_DURING_LAUNCH' });
  t.same(states(), ['TASK_STARTING', 'TASK_STARTING', 'TASK_KILLING', 'TASK_KILLED']);
  t.equal(heard.length, 4);
});

t.test(
  'an artifact that can never be had fails its task at once; one that its server refuses, by the task’s rules',
  async t => {
    for (const [code, restarts] of [
      ['INVALID_INPUT', 0],
      ['TOO_LARGE', 0],
      ['NOT_FOUND', 1],
    ] as const) {
      const place = async () => Promise.reject(new MesoliteError(code, `app: ${code}`));
      const { clock, runner, until, heard } = stage(t, 'exit 0', restarting('always', 2), { artifacts: { place } });
      await runner.begin();
      if (restarts > 0) {
        await until('TASK_STARTING', 1);
        await clock.advance(1_000);
      }
      const reason = 'REASON_CONTAINER_LAUNCH_FAILED';
      t.match(await until('TASK_FAILED'), { reason, message: `app: ${code}`, restarts });
      t.equal(heard.at(-1)?.state, 'TASK_FAILED');
    }
  },
);

t.test('a task that fails is started again after its wait, as often as its rules say', async t => {
  const { clock, runner, until, heard, directory } = stage(
    t,
    'echo run >> ../runs; exit 3',
    restarting('onFailure', 2),
  );
  await runner.begin();
  const waiting = await until('TASK_STARTING', 2);
  t.match(waiting, { exitCode: 3, message: /exit code 3; starts again in 1\.0 s/ });
  await clock.advance(999);
  t.equal(heard.length, 3);
  await clock.advance(1);
  t.match(await until('TASK_FAILED'), { exitCode: 3, restarts: 1, message: /failure 2 in a row/ });
  t.equal(readFileSync(join(directory, 'runs'), 'utf8'), 'run\nrun\n');
});

t.test('a task that is to end gets SIGTERM, and SIGKILL when it does not listen', async t => {
  const { clock, runner, until, ready, directory } = stage(t, 'trap "" TERM; echo up > ../up; sleep 1000 & wait; wait');
  const up = pipeOf(directory);
  await runner.begin();
  await until('TASK_RUNNING');
  await up();
  runner.kill('the job was removed');
  await until('TASK_KILLING');
  t.same(ready, [true, false], 'its endpoint is closed before it is told');
  await clock.advance(5_000);
  t.match(await until('TASK_KILLED'), { signal: 'SIGKILL', message: /the job was removed; ended by SIGKILL/ });
});

t.test('a task with a health check may be called once it passes', async t => {
  let asked = 0;
  const server = createServer((_, response) => response.writeHead(++asked < 3 ? 503 : 204).end());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => new Promise(resolve => server.close(resolve)));
  const address = server.address();
  const number = typeof address === 'object' && address !== null ? address.port : 0;
  const { clock, runner, until, heard } = stage(t, 'sleep 1000', {
    ports: [{ name: 'http', protocol: 'http', number }],
    // so long that no time that passes here is too long
    health: {
      type: 'http',
      port: 'http',
      path: '/up',
      initialDelayMs: 1_000,
      intervalMs: 1_000 * dayMs,
      timeoutMs: 1_000 * dayMs,
      threshold: 3,
    },
  });
  await runner.begin();
  t.match(await until('TASK_RUNNING'), { ready: false });
  t.notOk(runner.ready);
  t.equal(asked, 0);
  // looked at again and again, until the answer is a good one
  while (!runner.ready) await clock.advance(500);
  t.equal(asked, 3);
  t.match(heard.at(-1), { state: 'TASK_RUNNING', ready: true });
});

t.test('when the watching ends the task goes on, nothing is told, and nothing keeps the agent', async t => {
  const first = stage(t, `${untilGo}; exit 4`, { maxRunMs: 3_600_000 });
  const up = pipeOf(first.directory);
  await first.runner.begin();
  const { pid } = await first.until('TASK_RUNNING');
  await up();
  t.equal(first.clock.sleepers, 1);
  first.stopWatching();
  t.equal(first.clock.sleepers, 0);

  const { runner, until, states, heard } = stage(t, 'exit 9', {}, first);
  await runner.begin();
  t.match(heard, [{ state: 'TASK_RUNNING', pid, message: 'found running by a restarted agent' }]);
  writeFileSync(join(first.directory, 'go'), '');
  t.match(await until('TASK_FAILED'), { exitCode: 4 });
  t.same(states(), ['TASK_RUNNING', 'TASK_FAILED']);
  t.same(first.states(), ['TASK_STARTING', 'TASK_RUNNING']);
});

t.test('how a task ended while no agent ran is told by the next one', async t => {
  const first = stage(t, 'exit 0');
  await first.runner.begin();
  await first.until('TASK_FINISHED');
  const { runner, until, states } = stage(t, 'exit 9', {}, first);
  await runner.begin();
  t.match(await until('TASK_FINISHED'), { exitCode: 0 });
  t.same(states(), ['TASK_FINISHED'], 'it is not run again');
});

t.test('a task whose end was told before is left alone', async t => {
  const { runner, heard, directory } = stage(t, 'echo run > ../runs', {}, { hasEnded: true });
  t.ok(runner.ended);
  await runner.begin();
  runner.kill('again');
  t.same(heard, []);
  t.notOk(existsSync(join(directory, 'runs')));
});

t.test('what a task needs is no bound of it: it may use all that its limits say, at its full pace', t => {
  const resources = { scalars: { cpus: 500, mem: 32_000 }, ranges: {}, sets: {} };
  const limits = { cpus: 1_000, mem: 96_000 };
  const held = cgroupLimitsOf(taskSpec({ resources, limits }));
  t.match(held, { cpuWeight: 50, cpus: 1, memoryBytes: 96 * 1024 * 1024, pids: 1_024 });
  t.equal(held.memoryHighBytes, undefined);
  const slowed = cgroupLimitsOf(taskSpec({ resources, limits: { ...limits, memHigh: 64_000 } }));
  t.equal(slowed.memoryHighBytes, 64 * 1024 * 1024, 'but where it is to be slowed down');
  t.end();
});

t.test('a task that is to end before it has begun never starts', async t => {
  const { runner, heard } = stage(t, 'exit 0');
  runner.kill('the job was removed');
  t.match(heard, [{ state: 'TASK_KILLED', reason: 'REASON_TASK_KILLED_DURING_LAUNCH' }]);
  await runner.begin();
  t.equal(heard.length, 1);
});
