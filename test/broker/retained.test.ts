import t from 'tap';
import { Retained } from '../../src/broker/retained.ts';

const packet = (topic: string, text: string) => ({ topic, payload: Buffer.from(text), qos: 1, retain: true });

async function read(retained: Retained, ...filters: string[]): Promise<string[]> {
  const found: string[] = [];
  for await (const { payload } of retained.createRetainedStreamCombi(filters)) found.push(String(payload));
  return found;
}

t.test('the newest message of a topic is kept, and an empty one forgets it', async t => {
  const retained = new Retained({ maxMessages: 10, maxBytes: 100 });
  retained.store(packet('a', 'one'));
  retained.store(packet('a', 'second'));
  retained.store(packet('b', 'other'));
  t.strictSame(await read(retained, 'a', 'b', 'c'), ['second', 'other']);
  t.equal(retained.bytes, 11);
  retained.store(packet('a', ''));
  retained.store(packet('never', ''));
  t.strictSame(await read(retained, 'a', 'b'), ['other']);
  t.match(retained, { size: 1, bytes: 5 });
});

t.test('a wildcard reads nothing', async t => {
  const retained = new Retained({ maxMessages: 10, maxBytes: 100 });
  retained.store(packet('a/b', 'x'));
  t.strictSame(await read(retained, 'a/+', '#'), []);
});

t.test('at its bound it refuses what is new, keeps what it had, and still takes replacements', async t => {
  const retained = new Retained({ maxMessages: 2, maxBytes: 10 });
  retained.store(packet('a', '12345'));
  retained.store(packet('b', '1234'));
  t.throws(() => retained.store(packet('c', 'x')), { code: 'QUEUE_FULL' }, 'too many');
  t.throws(() => retained.store(packet('b', '123456')), { code: 'QUEUE_FULL' }, 'too large');
  t.strictSame(await read(retained, 'a', 'b', 'c'), ['12345', '1234']);
  retained.store(packet('b', '12345'));
  t.equal(retained.bytes, 10);
});

t.test('what is kept does not hold on to the buffer it came in', async t => {
  const retained = new Retained({ maxMessages: 2, maxBytes: 100_000 });
  const chunk = Buffer.alloc(65_536, 'a');
  retained.store({ ...packet('a', ''), payload: chunk.subarray(0, 20_000) });
  chunk.fill('b');
  t.equal((await read(retained, 'a'))[0]?.startsWith('aaa'), true);
});
