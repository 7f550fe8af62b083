import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { silentLog } from '../../src/base/log.ts';
import { startLogGuard } from '../../src/device/log-guard.ts';
import { lives } from '../fixtures/fleet.ts';
import { until } from '../fixtures/fleet-until.ts';

const maxBytes = 64 * 1024;

function stage(home: string) {
  const [tasks, file] = [join(home, 'tasks'), join(home, 'log-guard')];
  const run = join(tasks, 'flood', 'run.1');
  mkdirSync(run, { recursive: true });
  const start = (signal: AbortSignal) =>
    startLogGuard({ log: silentLog }, { tasks, file, maxBytes, everySeconds: 0.05 }, signal);
  const isNewest = (pid?: number) => existsSync(file) && Number(readFileSync(file, 'utf8')) === pid;
  return { run, start, isNewest, log: join(tasks, 'flood', 'stdout.log') };
}

t.test('what floods its log while no agent runs is cut, until its task has ended', async t => {
  const { run, start, isNewest, log } = stage(t.testdir());
  const agent = new AbortController();
  const guard = await start(agent.signal);
  t.teardown(() => agent.abort());
  await until('it has begun', () => isNewest(guard));
  const flood = spawn('sh', ['-c', 'while :; do head -c 100000 /dev/zero; done'], {
    stdio: ['ignore', openSync(log, 'a'), 'ignore'],
  });
  t.teardown(() => flood.kill('SIGKILL'));
  await until('there is too much', () => statSync(log).size > 20 * maxBytes);
  agent.abort();
  await until('it was cut', () => existsSync(`${log}.1`));
  t.equal(statSync(`${log}.1`).size, maxBytes);
  flood.kill('SIGKILL');
  await until('it is short', () => statSync(log).size <= 2 * maxBytes + 512);
  t.ok(lives(guard));
  writeFileSync(join(run, 'exit'), '0\n');
  await until('it has ended', () => !lives(guard));
});

t.test('the guard of the next agent takes the place of the one before', async t => {
  const { start, isNewest } = stage(t.testdir());
  const [one, two] = [new AbortController(), new AbortController()];
  t.teardown(() => two.abort());
  const first = await start(one.signal);
  await until('the first has begun', () => isNewest(first));
  one.abort();
  const second = await start(two.signal);
  await until('the second has begun', () => isNewest(second));
  await until('the first has ended', () => !lives(first));
  t.ok(lives(second));
});
