import { appendFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeTaskProgress } from '../../src/agent/task-progress.ts';
import { clearProgress, parseProgress, progressName } from '../../src/device/progress-file.ts';
import { maxProgressReports } from '../../src/model/message.ts';

t.test('the last whole line counts, as a percentage and a message', async t => {
  const cases: readonly (readonly [string, unknown])[] = [
    ['40', { percent: 40 }],
    ['40%\n', { percent: 40 }],
    ['  12.5 % of\tall  \n', { percent: 12.5, message: 'of all' }],
    ['10 a\n20 b\n\n', { percent: 20, message: 'b' }],
    ['10 a\n20', { percent: 10, message: 'a' }],
    ['7 \u001b[31mred\n', { percent: 7, message: '[31mred' }],
    ['101\n', undefined],
    ['half\n', undefined],
    ['40resizing\n', undefined],
    ['', undefined],
  ];
  for (const [text, expected] of cases) t.same(parseProgress(text), expected, JSON.stringify(text));
  t.equal(parseProgress(`1 ${'x'.repeat(500)}`)?.message?.length, 160);
});

t.test('what has changed is told once, and all of it when asked for', async t => {
  const directory = t.testdir({ a: {}, b: {} });
  const file = (task: string) => join(directory, task, progressName);
  const tasks = ['a', 'b'];
  const progress = makeTaskProgress({ tasks: () => tasks, sandboxOf: task => join(directory, task) });
  t.same(await progress.news(false), [], 'nothing is told of a task that tells nothing');
  writeFileSync(file('a'), '10 first\n');
  t.same(await progress.news(false), [{ task: 'a', percent: 10, message: 'first' }]);
  t.same(progress.of('a'), { percent: 10, message: 'first' });
  t.same(await progress.news(false), []);
  appendFileSync(file('a'), 'this is no progress\n');
  t.same(await progress.news(false), [], 'what cannot be read takes nothing back');
  t.same(await progress.news(true), [{ task: 'a', percent: 10, message: 'first' }]);
  await clearProgress(join(directory, 'a'));
  t.same(await progress.news(false), [{ task: 'a', percent: 0 }], 'a new run begins at nothing');
  t.same(await progress.news(false), []);
  appendFileSync(file('b'), `${'x'.repeat(100_000)}\n99\n`);
  t.same(await progress.news(false), [{ task: 'b', percent: 99 }], 'of a long file only the end is read');
  tasks.pop();
  t.same(await progress.news(true), []);
  t.equal(progress.of('b'), undefined);
});

t.test('what is no file of the task is not read', async t => {
  const directory = t.testdir({ secret: '50 of another\n', link: {}, folder: {} });
  symlinkSync(join(directory, 'secret'), join(directory, 'link', progressName));
  mkdirSync(join(directory, 'folder', progressName));
  const progress = makeTaskProgress({ tasks: () => ['link', 'folder'], sandboxOf: task => join(directory, task) });
  t.same(await progress.news(true), []);
  await clearProgress(join(directory, 'folder'));
  rmSync(join(directory, 'link'), { recursive: true });
});

t.test('what is too much for one heartbeat comes with the next', async t => {
  const tasks = Array.from({ length: maxProgressReports + 1 }, (_, i) => `task-${i}`);
  const directory = t.testdir(Object.fromEntries(tasks.map(task => [task, { [progressName]: '1' }])));
  const progress = makeTaskProgress({ tasks: () => tasks, sandboxOf: task => join(directory, task) });
  t.equal((await progress.news(false)).length, maxProgressReports);
  t.same(await progress.news(false), [{ task: tasks.at(-1), percent: 1 }]);
});
