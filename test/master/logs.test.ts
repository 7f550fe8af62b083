import t, { type Test } from 'tap';
import { masterTimes } from '../../src/master/config.ts';
import { makeLogs } from '../../src/master/logs.ts';
import type { LogChunk } from '../../src/model/message.ts';
import { MasterWords } from '../fixtures/master-words.ts';

const query = { task: 'web.default.0-a', stream: 'stdout', tailBytes: 100 } as const;

function stage(_: Test) {
  const words = new MasterWords();
  let ids = 0;
  const logs = makeLogs({ outgoing: words.outgoing, clock: words.clock, newId: () => `question-${++ids}` });
  const caller = new AbortController();
  const answer = (data: string, more: Partial<LogChunk> = {}, node = 'pi-1') =>
    logs.onChunk(node, {
      ...{ v: 1, boot: 1, seq: 0, ts: 0, id: 'question-1', task: query.task, stream: 'stdout', end: false, data },
      ...more,
    } as LogChunk);
  return { words, logs, caller, answer };
}

t.test('a node is asked for the end of an output, and its pieces are put together', async t => {
  const { words, logs, caller, answer } = stage(t);
  const text = logs.ask('pi-1', query, caller.signal);
  t.match(words.take('ask'), [{ subject: 'pi-1', body: { what: 'log', id: 'question-1', ...query } }]);
  answer('one\n');
  answer('two\n');
  answer('', { end: true });
  t.equal(await text, 'one\ntwo\n');
  t.equal(words.clock.sleepers, 0);
});

t.test('what another node says, or says to another question, is no answer', async t => {
  const { logs, caller, answer } = stage(t);
  const text = logs.ask('pi-1', query, caller.signal);
  answer('forged', { end: true }, 'pi-2');
  answer('forged', { end: true, id: 'question-9' });
  answer('true', { end: true });
  answer('late', { end: true });
  t.equal(await text, 'true');
});

t.test('an output that is gone is not found, in the node’s words', async t => {
  const { logs, caller, answer } = stage(t);
  const text = logs.ask('pi-1', query, caller.signal);
  answer('', { end: true, error: 'node pi-1 has no output of it any more' });
  await t.rejects(text, { code: 'NOT_FOUND', message: 'node pi-1 has no output of it any more' });
});

t.test('a node that does not answer is waited for as long as is said', async t => {
  const { words, logs, caller, answer } = stage(t);
  const text = t.rejects(logs.ask('pi-1', query, caller.signal), { code: 'TIMED_OUT', message: /may be offline/ });
  answer('a piece');
  await words.clock.advance(masterTimes.logAnswerMs);
  await text;
});

t.test('a caller who leaves takes the question away, whenever that is', async t => {
  const { words, logs, caller } = stage(t);
  const text = t.rejects(logs.ask('pi-1', query, caller.signal), { code: 'TIMED_OUT' });
  caller.abort();
  await text;
  t.equal(words.clock.sleepers, 0);
  words.take('ask');
  await t.rejects(logs.ask('pi-1', query, caller.signal), { code: 'UNAVAILABLE' });
  t.equal(words.clock.sleepers, 0, 'also before it was asked');
  t.same(words.take('ask'), []);
});

t.test('an answer without end is cut off', async t => {
  const { logs, caller, answer } = stage(t);
  const text = t.rejects(logs.ask('pi-1', query, caller.signal), { code: 'TOO_LARGE' });
  for (let i = 0; i < 5; i++) answer('x'.repeat(64 * 1024));
  await text;
});

t.test('so many questions are open at once, and more are refused until some are answered', async t => {
  const { words, logs, caller } = stage(t);
  const open = Array.from({ length: 64 }, () => t.rejects(logs.ask('pi-1', query, caller.signal)));
  await t.rejects(logs.ask('pi-1', query, caller.signal), { code: 'UNAVAILABLE', message: /too many/ });
  await words.clock.advance(masterTimes.logAnswerMs);
  await Promise.all(open);
  const again = t.rejects(logs.ask('pi-1', query, caller.signal), { code: 'TIMED_OUT' });
  await words.clock.advance(masterTimes.logAnswerMs);
  await again;
});
