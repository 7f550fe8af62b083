import { PassThrough } from 'node:stream';
import t from 'tap';
import { dialAny } from '../../src/agent/dial-any.ts';

t.test('of several addresses the next one is tried after a failure, and one that works is kept', async t => {
  const tried: string[] = [];
  const reachable = new Set<string>();
  const dials = ['a', 'b', 'c'].map(name => async () => {
    tried.push(name);
    if (!reachable.has(name)) throw new Error(`${name} does not answer`);
    return new PassThrough();
  });
  const dial = dialAny(dials);
  const { signal } = new AbortController();
  await t.rejects(dial(signal), { message: 'a does not answer' });
  reachable.add('b');
  await dial(signal);
  await dial(signal);
  reachable.delete('b');
  await t.rejects(dial(signal), { message: 'b does not answer' });
  reachable.add('a');
  await t.rejects(dial(signal), { message: 'c does not answer' });
  await dial(signal);
  t.same(tried, ['a', 'b', 'b', 'b', 'c', 'a']);
});

t.test('without any address there is nothing to reach', async t => {
  await t.rejects(dialAny([])(new AbortController().signal), { code: 'UNAVAILABLE' });
});
