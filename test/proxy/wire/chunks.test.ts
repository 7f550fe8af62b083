import fc from 'fast-check';
import t from 'tap';
import { Chunks } from '../../../src/proxy/wire/chunks.ts';
import { refuse } from '../../../src/proxy/wire/refusals.ts';

/** Feeds `text` in pieces that end at `cuts`; returns the data, and where the body ended in the text. */
function feed(text: string, cuts: readonly number[]) {
  const chunks = new Chunks();
  const bytes = Buffer.from(text, 'latin1');
  const ends = [...new Set([...cuts.map(cut => cut % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b);
  let data = '';
  let from = 0;
  for (const end of ends) {
    while (from < end && !chunks.done) {
      const next = chunks.step(bytes, from, end);
      if (next < 0) return { refusal: next, data, end: from };
      data += bytes.toString('latin1', chunks.dataStart, chunks.dataEnd);
      from = next;
    }
  }
  return { refusal: 0, data, end: chunks.done ? from : -1 };
}

const bodies = fc.array(fc.string({ minLength: 1, maxLength: 40, unit: 'binary-ascii' }), { maxLength: 5 });
const trailers = fc.constantFrom('', 'X-Sum: 1\r\n', 'A: b\r\nC: d\r\n');
const encode = (parts: readonly string[], trailer: string) =>
  `${parts.map(part => `${part.length.toString(16)}\r\n${part}\r\n`).join('')}0\r\n${trailer}\r\n`;

t.test('however a body is cut, its data comes out and its end is found', async () => {
  fc.assert(
    fc.property(bodies, trailers, fc.array(fc.nat(400), { maxLength: 12 }), (parts, trailer, cuts) => {
      const encoded = encode(parts, trailer);
      const { data, end, refusal } = feed(`${encoded}GET / HTTP/1.1\r\n`, cuts);
      return refusal === 0 && data === parts.join('') && end === encoded.length;
    }),
    { seed: 21, numRuns: 3000 },
  );
});

t.test('however a body is cut, what is wrong with it is found', async t => {
  const cases: readonly (readonly [string, number])[] = [
    ['1;x=y\r\nz\r\n0\r\n\r\n', refuse.chunk],
    ['1\nz\r\n0\r\n\r\n', refuse.chunk],
    ['1\r\nzz\r\n0\r\n\r\n', refuse.chunk],
    ['g\r\n', refuse.chunk],
    ['\r\n', refuse.chunk],
    ['000000001\r\nz\r\n', refuse.chunk],
    ['0\r\nContent-Length: 1\r\n\r\n', refuse.trailer],
    ['0\r\nHost: x\r\n\r\n', refuse.trailer],
    ['0\r\n folded\r\n\r\n', refuse.trailer],
    [`0\r\nX: ${'y'.repeat(9000)}\r\n\r\n`, refuse.trailer],
  ];
  for (const [text, expected] of cases) {
    for (const cuts of [[], [1], [2, 3, 4], Array.from({ length: 200 }, (_, i) => i)]) {
      t.equal(feed(text, cuts).refusal, expected, JSON.stringify(text.slice(0, 40)));
    }
  }
});
