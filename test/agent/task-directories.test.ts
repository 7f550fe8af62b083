import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openTaskDirectories, retiredBounds } from '../../src/agent/task-directories.ts';
import { sandboxName } from '../../src/device/process.ts';

/** As a task leaves it. */
function fill(directory: string, output = 'hello\n'): void {
  mkdirSync(join(directory, sandboxName), { recursive: true });
  writeFileSync(join(directory, sandboxName, 'scratch'), 'large');
  writeFileSync(join(directory, 'stdout.log'), output);
}

t.test('what a task said outlives what it worked with', async t => {
  const data = t.testdir();
  const directories = await openTaskDirectories(data);
  fill(directories.of('web.default.0-a'));
  t.same(await directories.list(), ['web.default.0-a']);
  t.equal(await directories.findOutput('web.default.0-a'), directories.of('web.default.0-a'));
  await directories.retire('web.default.0-a');
  t.same(await directories.list(), []);
  const kept = (await directories.findOutput('web.default.0-a')) ?? '';
  t.equal(readFileSync(join(kept, 'stdout.log'), 'utf8'), 'hello\n');
  t.notOk(existsSync(join(kept, sandboxName)));
});

t.test('a task that is not here has no output, and can be put away all the same', async t => {
  const directories = await openTaskDirectories(t.testdir());
  t.equal(await directories.findOutput('none'), undefined);
  await directories.retire('none');
  t.equal(await directories.findOutput('none'), undefined);
});

t.test('a task that comes back by the same id leaves its newer output', async t => {
  const directories = await openTaskDirectories(t.testdir());
  for (const output of ['first\n', 'second\n']) {
    fill(directories.of('a'), output);
    await directories.retire('a');
  }
  const kept = (await directories.findOutput('a')) ?? '';
  t.equal(readFileSync(join(kept, 'stdout.log'), 'utf8'), 'second\n');
});

t.test('the output of the newest ended tasks is kept, and of no more than the bound', async t => {
  const data = t.testdir();
  const directories = await openTaskDirectories(data);
  for (let i = 0; i < retiredBounds.tasks; i++) {
    fill(directories.of(`task-${i}`));
    await directories.retire(`task-${i}`);
    utimesSync(join(data, 'ended', `task-${i}`), 1_000 + i, 1_000 + i);
  }
  t.ok(await directories.findOutput('task-0'));
  fill(directories.of('last'));
  await directories.retire('last');
  t.equal(readdirSync(join(data, 'ended')).length, retiredBounds.tasks);
  t.equal(await directories.findOutput('task-0'), undefined, 'the oldest made room');
  t.ok(await directories.findOutput('task-1'));
  t.ok(await directories.findOutput('last'));
});

t.test('of output that is large less is kept, and what is missing on a full disk is taken from the oldest', async t => {
  const data = t.testdir();
  const bounds = { tasks: 10, bytes: 3_000 };
  const directories = await openTaskDirectories(data, bounds);
  for (const [i, name] of ['a', 'b', 'c', 'd'].entries()) {
    fill(directories.of(name), 'x'.repeat(1_000));
    await directories.retire(name);
    utimesSync(join(data, 'ended', name), 1_000 + i, 1_000 + i);
  }
  t.same(readdirSync(join(data, 'ended')).sort(), ['b', 'c', 'd']);
  symlinkSync('nowhere', join(data, 'ended/d/link'));
  const later = await openTaskDirectories(data, bounds);
  t.equal(await later.makeRoom(1_500), 2_000, 'found again as they are');
  t.same(readdirSync(join(data, 'ended')), ['d']);
  t.equal(await later.makeRoom(5_000), 1_007, 'a link is what it says');
  fill(later.of('huge'), 'x'.repeat(9_000));
  await later.retire('huge');
  t.ok(await later.findOutput('huge'), 'the newest is kept whatever it takes');
});

t.test('nobody else may look into the directories of tasks', async t => {
  const data = t.testdir();
  await openTaskDirectories(data);
  for (const name of ['tasks', 'ended']) t.equal(statSync(join(data, name)).mode & 0o777, 0o700);
});
