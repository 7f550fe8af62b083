import t from 'tap';
import { seededRandom } from '../../../src/base/random.ts';
import { Comparison, deliberate } from './differential/compare.ts';
import { Inputs } from './differential/inputs.ts';
import { readRequests } from './differential/ours.ts';

/** `npm run check:parser` takes a million. */
const batches = 10;

t.test('what ours takes, Node takes as the same message, and what only ours refuses is on the list', async t => {
  const comparison = new Comparison();
  const inputs = new Inputs(seededRandom(11));
  for (let i = 0; i < batches; i++) {
    await comparison.requests(inputs, 300);
    await comparison.responses(inputs, 100);
  }
  t.same(comparison.wrong(), []);
  t.equal(comparison.inputs, batches * 400);
  t.ok(comparison.agreed > comparison.inputs / 5, 'many inputs are messages to both');
  t.ok(comparison.stricter.size >= Object.keys(deliberate).length / 2, 'and many are not to ours');
});

t.test('a parser that reads something else is found', async t => {
  const bytes = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  const ours = readRequests(bytes);
  const [message] = ours.messages;
  if (message === undefined) throw new Error('expected a message');
  for (const theirs of [
    { messages: [], refusal: 'HPE_INVALID_HEADER_TOKEN' },
    { messages: [{ ...message, fields: [] }], refusal: undefined },
    { messages: [{ ...message, bodyBytes: 5 }], refusal: undefined },
    { messages: [{ ...message, isWhole: false }], refusal: undefined },
    { messages: [message, message], refusal: undefined },
  ]) {
    const comparison = new Comparison();
    comparison.compare(bytes, ours, theirs);
    t.equal(comparison.wrong().length, 1);
  }
});
