import { setMaxListeners } from 'node:events';
import t, { type Test } from 'tap';
import { masterTimes } from '../../src/master/config.ts';
import { makeLogFollowers } from '../../src/master/log-followers.ts';
import { makeLogs } from '../../src/master/logs.ts';
import { makeOutputStreams, maxOutputStreams } from '../../src/master/output-streams.ts';
import type { LogChunk } from '../../src/model/message.ts';
import { type OutputFrame, outputBounds } from '../../src/model/output.ts';
import { MasterWords } from '../fixtures/master-words.ts';

const query = { task: 'web.default.0-a', stream: 'stdout', tailBytes: 100 } as const;

function stage(_: Test) {
  const words = new MasterWords();
  let ids = 0;
  const logs = makeLogs({ outgoing: words.outgoing, clock: words.clock, newId: () => `question-${++ids}` });
  const caller = new AbortController();
  // one test asks for many outputs at once by it
  setMaxListeners(0, caller.signal);
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

t.test('what is asked for is cut to a time and to lines', async t => {
  const { logs, caller, answer } = stage(t);
  const text = logs.ask('pi-1', { ...query, since: 2_000, tailLines: 2 }, caller.signal);
  answer('too old\n', { at: 1_999 });
  answer('one\ntwo\n', { at: 2_000 });
  answer('three\n', { at: 3_000 });
  answer('', { end: true });
  t.equal(await text, 'two\nthree\n');
});

function followStage() {
  const words = new MasterWords();
  let ids = 0;
  const streams = makeOutputStreams({
    outgoing: words.outgoing,
    clock: words.clock,
    newId: () => `stream-${++ids}`,
    inBackground: () => {},
  });
  const followers = makeLogFollowers({ streams });
  const say = (number: number, data: string, more: Partial<LogChunk> = {}, node = 'pi-1') => {
    const head = { v: 1, boot: 1, seq: 0, ts: 0, task: query.task, stream: 'stdout', end: false } as const;
    return streams.onPiece(node, { ...head, id: 'stream-1', number, data, ...more });
  };
  const follow = (more: object = {}) => {
    const frames: OutputFrame[] = [];
    const leaving = new AbortController();
    const all = { ...query, ...more };
    const done = followers.follow('pi-1', all, frame => void frames.push(frame), leaving.signal);
    return { done, leave: () => leaving.abort(), text: () => frames.map(frame => frame.data).join(''), frames };
  };
  const settle = () => new Promise<void>(resolve => setImmediate(resolve));
  const acks = () => words.take('ack').map(word => word.body.output);
  return { words, say, follow, settle, acks };
}

t.test('several who follow one output share one stream, each from where it asked', async t => {
  const { words, say, follow, settle, acks } = followStage();
  const first = follow({ tailLines: 1 });
  t.match(words.take('ask'), [{ body: { what: 'log', follow: true, task: query.task } }]);
  say(1, 'one\ntwo\n', { backlog: true });
  await settle();
  t.equal(first.frames.length, 0, 'the end of what is there is not known yet');
  say(2, '');
  await settle();
  say(3, 'three\n');
  await settle();
  t.equal(first.text(), 'two\nthree\n');
  const second = follow();
  t.same(words.take('ask'), []);
  t.equal(second.text(), 'one\ntwo\nthree\n');
  say(4, 'four\n', { skipped: 7 });
  await settle();
  t.match(second.frames.at(-1), { data: 'four\n', skipped: 7 });
  t.match(acks().at(-1), [{ id: 'stream-1', taken: 4 }]);

  first.leave();
  await first.done;
  t.same(acks(), [], 'somebody else still follows');
  second.leave();
  await second.done;
  await settle();
  t.match(acks(), [[{ id: 'stream-1', taken: 4, end: true }]]);
  t.equal(words.clock.sleepers, 0);
  t.notOk(say(5, 'late'));
});

t.test('the end of the output ends all who follow it, and the next one is asked for anew', async t => {
  const { words, say, follow } = followStage();
  const all = [follow(), follow()];
  say(1, 'bye\n', { backlog: true });
  say(2, '');
  say(3, '', { end: true });
  await Promise.all(all.map(each => each.done));
  t.same(
    all.map(each => each.text()),
    ['bye\n', 'bye\n'],
  );
  words.take('ask');
  const again = follow();
  t.equal(words.take('ask').length, 1);
  again.leave();
  await again.done;
});

t.test(
  'a node that falls silent, loses a piece or runs ahead ends the stream; one that is followed is told so',
  async t => {
    const silent = followStage();
    const waiting = t.rejects(silent.follow().done, { code: 'TIMED_OUT' });
    await silent.words.clock.advance(masterTimes.logAnswerMs);
    await waiting;

    const gone = followStage();
    const follower = gone.follow();
    gone.say(1, '');
    await gone.settle();
    gone.acks();
    await gone.words.clock.advance(outputBounds.renewMs);
    t.match(gone.acks(), [[{ id: 'stream-1', taken: 1, end: undefined }]]);
    const ended = t.rejects(follower.done, { code: 'UNAVAILABLE', message: /said nothing for 30 s/ });
    await gone.words.clock.advance(outputBounds.leaseMs);
    await ended;

    const lossy = followStage();
    const lost = t.rejects(lossy.follow().done, { code: 'UNAVAILABLE', message: /lost/ });
    lossy.say(1, 'a');
    lossy.say(1, 'a', {}, 'pi-2');
    lossy.say(1, 'a');
    lossy.say(3, 'c');
    await lost;

    const absent = followStage();
    const none = t.rejects(absent.follow().done, { code: 'NOT_FOUND', message: 'it is not here' });
    absent.say(1, '', { error: 'it is not here', end: true });
    await none;
  },
);

t.test('so many outputs are read at once', async t => {
  const { words } = followStage();
  const { outgoing, clock } = words;
  let ids = 0;
  const streams = makeOutputStreams({ outgoing, clock, newId: () => `s${++ids}`, inBackground: () => {} });
  const leaving = new AbortController();
  // all of them by one
  setMaxListeners(0, leaving.signal);
  const read = () =>
    streams.read(
      'pi-1',
      id => ({ what: 'log', id, ...query }),
      () => {},
      leaving.signal,
    );
  const open = Array.from({ length: maxOutputStreams }, () => t.rejects(read(), { code: 'UNAVAILABLE' }));
  await t.rejects(read(), { code: 'UNAVAILABLE', message: /too many/ });
  leaving.abort();
  await Promise.all(open);
  t.equal(clock.sleepers, 0);
});
