import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openCgroups } from '../../src/device/cgroup.ts';
import { findCgroupTree } from '../../src/device/cgroup-tree.ts';
import { systemClock } from '../../src/device/clock.ts';
import { openPrivileges } from '../../src/device/privileges.ts';
import { makeProcesses, type RunningProcess } from '../../src/device/process.ts';
import {
  currentBoot,
  groupLives,
  identify,
  isAlive,
  type ProcessIdentity,
  signalGroup,
} from '../../src/device/process-identity.ts';
import { shimScript } from '../../src/device/shim.ts';
import { readTaskMemory } from '../../src/device/task-memory.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

const env = { PATH: '/usr/local/bin:/usr/bin:/bin' };
const processes = makeProcesses({ clock: systemClock }, { pollMs: 20 });

/** Where groups can be made, the kernel is asked to hold tasks together. */
const isRoot = process.getuid?.() === 0;
const hasCgroups = isRoot && findCgroupTree() !== undefined;
const noCgroups = 'cgroups can be made here by root alone, and on cgroup v2';

/** A directory for a task, a signal that ends with the test, and a pipe by which the task says that it is up. */
function stage(t: Test) {
  const directory = t.testdir();
  const watching = new AbortController();
  const pipe = join(directory, 'up');
  execFileSync('mkfifo', [pipe]);
  t.teardown(() => watching.abort());
  const start = async (script: string, more: Readonly<Record<string, string>> = {}): Promise<RunningProcess> => {
    const request = { command: ['sh', '-c', script, 'task'], env: { ...env, ...more }, directory };
    const started = await processes.start(request, watching.signal);
    if (started.result !== 'running') throw new Error(started.message);
    t.teardown(() => started.process.signal('SIGKILL'));
    return started.process;
  };
  return {
    directory,
    signal: watching.signal,
    stopWatching: () => watching.abort(),
    start,
    /** What the task says when it writes to `../up`. */
    said: async () => (await readFile(pipe, 'utf8')).trim(),
    text: (name: string) => readFileSync(join(directory, name), 'utf8'),
  };
}

async function identityOf(process: RunningProcess): Promise<ProcessIdentity> {
  const identity = await identify(process.pid);
  if (identity === undefined) throw new Error('it is gone');
  return identity;
}

t.test('a task writes to its files, in its own directory, with its own environment and nothing else', async t => {
  const { start, text } = stage(t);
  const task = await start('pwd; echo "$GREETING"; env | cut -d= -f1 | sort | tr "\\n" " "; echo oh >&2; exit 3', {
    GREETING: 'hello  world',
  });
  t.strictSame(await task.exited, { kind: 'exited', code: 3 });
  const [where, greeting, names] = text('stdout.log').split('\n');
  t.match(where, /\/sandbox$/);
  t.equal(greeting, 'hello  world');
  t.ok(names?.includes('GREETING'));
  t.notOk(/\bHOME\b/.test(names ?? ''), 'what the agent has in its environment is its own');
  t.equal(text('stderr.log'), 'oh\n');
});

t.test('arguments arrive as they are', async t => {
  const { directory, signal, text } = stage(t);
  const odd = ['two words', '$HOME `id`', "it's", 'line\nbreak', '*', ''];
  const started = await processes.start({ command: ['printf', '[%s]', ...odd], env, directory }, signal);
  if (started.result === 'running') await started.process.exited;
  t.equal(text('stdout.log'), odd.map(word => `[${word}]`).join(''));
});

t.test('the log of a run is added to that of the run before', async t => {
  const { start, text } = stage(t);
  for (const word of ['one', 'two']) await (await start(`echo ${word}`)).exited;
  t.equal(text('stdout.log'), 'one\ntwo\n');
});

t.test('an end by a signal is told by its name', async t => {
  const { start } = stage(t);
  t.strictSame(await (await start('kill -SEGV $$')).exited, { kind: 'signaled', signal: 'SIGSEGV' });
});

t.test('a command that cannot run is refused with the reason', async t => {
  const { directory, signal } = stage(t);
  writeFileSync(join(directory, 'plain'), '');
  chmodSync(join(directory, 'plain'), 0o644);
  const why = async (command: string) => {
    const started = await processes.start({ command: [command], env, directory }, signal);
    return started.result === 'notStarted' && started.permanent ? started.message : started.result;
  };
  t.equal(await why('no-such-command'), `no-such-command: command not found in PATH ${env.PATH}`);
  t.equal(await why('./no-such-file'), './no-such-file: command not found');
  t.match(await why(join(directory, 'plain')), /plain: not executable \(mode 0644\)/);
  t.match(await why(directory), /is a directory/);
  t.match(await why('exit'), /command not found/, 'a word of the shell is no command');
  t.equal(await why(''), 'the command is empty');
});

t.test('an interpreter that is missing shows in the exit status', async t => {
  const { directory, signal } = stage(t);
  const script = join(directory, 'script');
  writeFileSync(script, '#!/no/such/interpreter\n');
  chmodSync(script, 0o755);
  const started = await processes.start({ command: [script], env, directory }, signal);
  t.strictSame(started.result === 'running' && (await started.process.exited), { kind: 'exited', code: 127 });
});

t.test('SIGTERM reaches the whole group, and the shim lives to tell', async t => {
  const { start, said } = stage(t);
  const task = await start('sleep 1000 & echo up >../up; wait');
  const identity = await identityOf(task);
  t.equal(await said(), 'up');
  task.signal('SIGTERM');
  t.strictSame(await task.exited, { kind: 'signaled', signal: 'SIGTERM' });
  t.notOk(groupLives(identity), 'nothing is left of the group');
});

t.test('a task can end in order on SIGTERM', async t => {
  const { start, said, text } = stage(t);
  const task = await start('trap "echo bye; exit 0" TERM; echo up >../up; sleep 1000 & wait');
  await said();
  task.signal('SIGTERM');
  t.strictSame(await task.exited, { kind: 'exited', code: 0 });
  t.equal(text('stdout.log'), 'bye\n');
});

t.test('who ignores SIGTERM is ended by SIGKILL, with all its children', async t => {
  const { start, said } = stage(t);
  const task = await start('trap "" TERM; sleep 1000 & sleep 1000 & echo up >../up; wait');
  const identity = await identityOf(task);
  await said();
  task.signal('SIGTERM');
  t.ok(await isAlive(identity), 'it is still there');
  task.signal('SIGKILL');
  t.strictSame(await task.exited, { kind: 'signaled', signal: 'SIGKILL' });
  t.notOk(groupLives(identity));
});

t.test('what a task leaves behind in its group ends with it', async t => {
  const { start, said } = stage(t);
  const task = await start('sleep 1000 & echo up >../up; exit 4');
  const identity = await identityOf(task);
  await said();
  t.strictSame(await task.exited, { kind: 'exited', code: 4 });
  t.notOk(groupLives(identity));
});

t.test('when the shim alone is killed, the task does not stay behind', async t => {
  const { start, said } = stage(t);
  const task = await start('echo up >../up; exec sleep 1000');
  const identity = await identityOf(task);
  await said();
  process.kill(task.pid, 'SIGKILL');
  t.strictSame(await task.exited, { kind: 'signaled', signal: 'SIGKILL' });
  t.notOk(groupLives(identity));
});

t.test('a task that runs is not started a second time', async t => {
  const { start, said } = stage(t);
  await start('echo up >../up; exec sleep 1000');
  await said();
  await t.rejects(start('true'), { code: 'CONFLICT', message: /runs already, as process \d+/ });
});

t.test('when the watching ends the task lives on, and can be found again', async t => {
  const { start, said, stopWatching, directory } = stage(t);
  const task = await start('echo up >../up; sleep 1000; exit 5');
  await said();
  stopWatching();
  t.equal(await task.exited, undefined);

  const found = await processes.adopt(directory, new AbortController().signal);
  if (found.result !== 'running') throw new Error(`expected running, got ${found.result}`);
  t.equal(found.process.pid, task.pid);
  found.process.signal('SIGTERM');
  t.strictSame(await found.process.exited, { kind: 'signaled', signal: 'SIGTERM' });
});

t.test('what left the session of a task ends with it, by its cgroup', { skip: !hasCgroups && noCgroups }, async t => {
  const { directory, said, signal } = stage(t);
  const script = `setsid sh -c 'echo $$ >../up; exec sleep 1000' & read line <../go; exit 4`;
  execFileSync('mkfifo', [join(directory, 'go')]);
  const cgroups = openCgroups(
    { tree: findCgroupTree(), clock: systemClock },
    { owner: `${process.pid}`, isRoot: true },
  ).cgroups;
  const held = makeProcesses({ clock: systemClock, cgroups }, { pollMs: 20 });
  const started = await held.start({ command: ['sh', '-c', script], env, directory }, signal);
  if (started.result !== 'running') throw new Error(started.message);
  const pid = Number(await said());
  const stray = await identify(pid);
  if (stray === undefined) throw new Error('it is gone');
  const counted = readTaskMemory([{ pid: started.process.pid, cgroup: started.process.cgroup }]);
  t.ok([...counted.values()].every(bytes => bytes > 0));
  t.ok(started.process.cgroup?.members().includes(pid));
  // another agent finds it with its cgroup
  const found = await held.adopt(directory, signal);
  if (found.result !== 'running') throw new Error(`expected running, got ${found.result}`);
  await writeFile(join(directory, 'go'), 'go\n');
  t.strictSame(await found.process.exited, { kind: 'exited', code: 4 });
  t.strictSame(await started.process.exited, { kind: 'exited', code: 4 });
  t.notOk(await isAlive(stray));
});

t.test('memory of a task without a cgroup is that of its session', async t => {
  const { start, said } = stage(t);
  const task = await start('sleep 1000 & echo up >../up; wait');
  await said();
  const [other, counted] = [
    { pid: 1, cgroup: undefined },
    { pid: task.pid, cgroup: undefined },
  ];
  const bytes = readTaskMemory([other, counted]).get(counted) ?? 0;
  t.ok(bytes > 0 && bytes < 32 * 1024 * 1024, `${bytes}`);
});

t.test(
  'a task of root has no rights, or those that it names, and may be another user',
  { skip: !isRoot && 'takes root' },
  async t => {
    const { lower, warnings } = await openPrivileges({ isRoot: true });
    t.same(warnings, []);
    const rights = async (user: string | undefined, capabilities: string[] = []) => {
      const { directory, signal, text } = stage(t);
      const as = await lower(user, capabilities);
      if ('why' in as) throw new Error(as.why);
      const command = ['sh', '-c', 'id -u; grep -E "^(CapEff|NoNewPrivs)" /proc/self/status; echo x >written'];
      const started = await processes.start({ command, env, directory, as }, signal);
      if (started.result === 'running') await started.process.exited;
      t.ok(existsSync(join(directory, 'sandbox', 'written')), 'its directory is its own');
      return text('stdout.log').trim().split(/\s+/);
    };
    t.same(await rights(undefined), ['0', 'CapEff:', '0000000000000000', 'NoNewPrivs:', '1']);
    t.same(await rights('nobody', ['NET_RAW']), ['65534', 'CapEff:', '0000000000002000', 'NoNewPrivs:', '1']);
    t.same(await rights('1234'), ['1234', 'CapEff:', '0000000000000000', 'NoNewPrivs:', '1']);
    t.match(await lower('no-such-user', []), { why: /there is no no-such-user/ });
    const guarded = await openPrivileges({ isRoot: true, defaultUser: 'nobody' });
    t.match(await guarded.lower('root', []), { why: /no task is root/ });
    t.match(await guarded.lower(undefined, []), { owner: { uid: 65_534 } });
    const module = new URL('../../src/device/privileges.js', import.meta.url).href;
    const script = `import { openPrivileges } from ${JSON.stringify(module)};
      const { lower, warnings } = await openPrivileges({ isRoot: true });
      console.log(JSON.stringify([warnings, await lower('nobody', []), await lower(undefined, [])]));`;
    const held = ['--bounding-set=-setuid', process.execPath, '--input-type=module', '--eval', script];
    const why = /as no other user than root: the agent lacks CAP_SETUID/;
    t.match(JSON.parse(execFileSync('setpriv', held, { encoding: 'utf8' })), [
      [why],
      { why },
      { prefix: [/setpriv$/] },
    ]);
  },
);

t.test('an agent that is not root says what it cannot do', async t => {
  const { lower, warnings } = await openPrivileges({ isRoot: false, defaultUser: 'nobody' });
  t.match(warnings, [/do not run as nobody/]);
  t.match(await lower('nobody', []), { why: /does not run as root/ });
  t.same(await lower(undefined, []), { prefix: [] });
});

t.test('a task goes first when memory runs out, and leaves no core file', async t => {
  const { start, text } = stage(t);
  await (await start('cat /proc/self/oom_score_adj; ulimit -c')).exited;
  t.equal(text('stdout.log'), '500\n0\n');
});

t.test('an agent is killed: its task does not notice, and the next agent learns how it ends', async t => {
  const { directory, signal, said } = stage(t);
  const agent = await startAgent(directory, 'echo up >../up; read line <../up; exit 6');
  await said();
  const died = new Promise(resolve => agent.once('exit', resolve));
  agent.kill('SIGKILL');
  await died;

  const found = await processes.adopt(directory, signal);
  if (found.result !== 'running') throw new Error(`expected running, got ${found.result}`);
  t.teardown(() => found.process.signal('SIGKILL'));
  await writeFile(join(directory, 'up'), 'go\n');
  t.strictSame(await found.process.exited, { kind: 'exited', code: 6 });
  t.match(await processes.adopt(directory, signal), { result: 'ended', exit: { kind: 'exited', code: 6 } });
});

t.test('a process of another agent is looked at at the set pace', async t => {
  const { start, said, directory, signal } = stage(t);
  const task = await start('echo up >../up; exec sleep 1000');
  await said();
  const clock = new FakeClock();
  const found = await makeProcesses({ clock }, { pollMs: 1_000 }).adopt(directory, signal);
  if (found.result !== 'running') throw new Error(`expected running, got ${found.result}`);
  await clock.untilSleeping();
  task.signal('SIGTERM');
  await task.exited;
  await clock.advance(1_000);
  t.strictSame(await found.process.exited, { kind: 'signaled', signal: 'SIGTERM' });
});

t.test('a process id that somebody else has by now is not taken for the task, nor signaled', async t => {
  const { directory, signal } = stage(t);
  const me = await identify(process.pid);
  const left = (identity: ProcessIdentity, name: string) => {
    mkdirSync(join(directory, name));
    writeFileSync(join(directory, name, 'pid'), `${identity.pid}\n${identity.boot}\n${identity.start}\n`);
  };
  left({ pid: process.pid, boot: currentBoot(), start: '1' }, 'run.a');
  t.strictSame(await processes.adopt(directory, signal), { result: 'ended', exit: { kind: 'unknown' }, ranMs: 0 });

  const other = stage(t);
  mkdirSync(join(other.directory, 'run.b'));
  writeFileSync(join(other.directory, 'run.b', 'pid'), `${process.pid}\nan-earlier-boot\n${me?.start}\n`);
  t.match(await processes.adopt(other.directory, signal), { result: 'ended', exit: { kind: 'unknown' } });
  t.pass('and this very process lives');
});

t.test('a damaged pid file never makes us signal ourselves or everybody', async t => {
  for (const pid of [0, 1, -1]) {
    t.equal(signalGroup({ pid, boot: currentBoot(), start: '1' }, 'SIGTERM'), false, String(pid));
  }
  const { directory, signal } = stage(t);
  mkdirSync(join(directory, 'run.a'));
  writeFileSync(join(directory, 'run.a', 'pid'), `0\n${currentBoot()}\n1\n`);
  t.match(await processes.adopt(directory, signal), { result: 'ended', exit: { kind: 'unknown' } });
});

t.test('a directory in which nothing ever ran has nothing', async t => {
  const { directory, signal } = stage(t);
  t.strictSame(await processes.adopt(directory, signal), { result: 'absent' });
  t.strictSame(await processes.adopt(join(directory, 'none'), signal), { result: 'absent' });
});

t.test('a power cut during the start leaves nothing that counts as running', async t => {
  const { directory, signal } = stage(t);
  mkdirSync(join(directory, 'run.a'));
  writeFileSync(join(directory, 'run.a', 'pid'), '');
  t.match(await processes.adopt(directory, signal), { result: 'ended', exit: { kind: 'unknown' } });
});

for (const [shell, ...args] of [['sh'], ['dash'], ['bash'], ['busybox', 'sh']]) {
  const missing = spawnSync(shell ?? '', [...args, '-c', 'true']).error !== undefined;
  t.test(`the shim under ${[shell, ...args].join(' ')}`, { skip: missing && `${shell} is not here` }, async t => {
    const directory = t.testdir({ run: {} });
    const run = join(directory, 'run');
    const shim = (...command: string[]) =>
      spawn(shell ?? '', [...args, '-c', shimScript, 'shim', run, '', ...command], {
        detached: true,
        stdio: 'ignore',
      });

    const child = shim('sh', '-c', 'exit 7');
    const identity = await identify(child.pid ?? 0);
    await new Promise(resolve => child.once('exit', resolve));
    t.equal(readFileSync(join(run, 'exit'), 'utf8'), '7\n');
    t.strictSame(readFileSync(join(run, 'pid'), 'utf8').split('\n'), [
      String(identity?.pid),
      identity?.boot,
      identity?.start,
      '',
      '',
    ]);

    const marker = join(directory, 'started');
    execFileSync('rm', ['-r', run]);
    const late = shim('touch', marker);
    const status = await new Promise(resolve => late.once('exit', resolve));
    t.equal(status, 125, 'a run that was taken away does not begin');
    t.notOk(existsSync(marker));
  });
}

/** An agent in a process of its own that starts one task and waits. */
async function startAgent(directory: string, script: string): Promise<ChildProcess> {
  const here = new URL('../../src/device/', import.meta.url);
  const program = `
    import { makeProcesses } from '${new URL('process.js', here).href}';
    import { systemClock } from '${new URL('clock.js', here).href}';
    const request = { command: ['sh', '-c', ${JSON.stringify(script)}], env: ${JSON.stringify(env)}, directory: ${JSON.stringify(directory)} };
    await makeProcesses({ clock: systemClock }).start(request, new AbortController().signal);
  `;
  return spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'ignore', 'inherit'] });
}
