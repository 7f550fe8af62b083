import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { answerLog } from '../../src/agent/log-answers.ts';
import { openTaskDirectories } from '../../src/agent/task-directories.ts';
import { AgentWords } from '../fixtures/agent-words.ts';

const ask = { what: 'log', id: 'q1', task: 'web.default.0-a', stream: 'stdout', tailBytes: 65_536 } as const;

async function stage(t: Test, output: string) {
  const words = new AgentWords();
  const directories = await openTaskDirectories(t.testdir());
  const directory = directories.of(ask.task);
  mkdirSync(directory);
  writeFileSync(join(directory, 'stdout.log'), output);
  return { words, directories, parts: { sender: words.sender, directories } };
}

t.test('the end of a task’s output is told, then that it is all', async t => {
  const { parts, words } = await stage(t, 'one\ntwo\n');
  await answerLog(parts, ask);
  t.match(words.take('log'), [
    { id: 'q1', task: ask.task, stream: 'stdout', data: 'one\ntwo\n', end: false },
    { id: 'q1', data: '', end: true, error: undefined },
  ]);
  await answerLog(parts, { ...ask, tailBytes: 4 });
  t.equal(words.take('log')[0]?.data, 'two\n');
  await answerLog(parts, { ...ask, stream: 'stderr' });
  t.match(words.take('log'), [{ stream: 'stderr', data: '', end: true }]);
});

t.test('a long output goes in pieces that are messages', async t => {
  const output = '\u0001é'.repeat(20_000);
  const { parts, words } = await stage(t, output);
  await answerLog(parts, ask);
  for (const { payload } of words.words) t.ok(payload.length < 64 * 1024);
  const pieces = words.take('log');
  t.ok(pieces.length > 3);
  t.equal(pieces.map(piece => piece.data).join(''), output);
  t.same(
    pieces.map(piece => piece.end),
    pieces.map((_, i) => i === pieces.length - 1),
  );
});

t.test('the output of an ended task is told, and after that why there is none', async t => {
  const { parts, words, directories } = await stage(t, 'bye\n');
  await directories.retire(ask.task);
  await answerLog(parts, ask);
  t.equal(words.take('log')[0]?.data, 'bye\n');
  rmSync((await directories.findOutput(ask.task)) ?? '', { recursive: true });
  await answerLog(parts, ask);
  t.match(words.take('log'), [{ end: true, error: `node pi-1 has no output of task ${ask.task} any more` }]);
});
