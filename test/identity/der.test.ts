import fc from 'fast-check';
import t from 'tap';
import { isMesoliteError } from '../../src/base/errors.ts';
import {
  bitString,
  bitStringOf,
  boolean,
  booleanOf,
  childrenOf,
  contentOf,
  type DerElement,
  encodeDer,
  encoded,
  integer,
  octetString,
  oid,
  oidOf,
  readDer,
  sequence,
  set,
  smallIntegerOf,
  tags,
  time,
  utf8String,
} from '../../src/identity/der.ts';

const bounds = { maxBytes: 4096, maxDepth: 8 };
const read = (hex: string) => readDer(Buffer.from(hex, 'hex'), 'test', bounds);
const hexOf = (value: Parameters<typeof encodeDer>[0]) => encodeDer(value).toString('hex');

t.test('what is written is read back, with the bytes of each element', async t => {
  const der = encodeDer(
    sequence(oid('1.2.840.10045.2.1'), set(boolean(true), integer(Buffer.of(5))), octetString(Buffer.of(1, 2))),
  );
  const root = readDer(der, 'test', bounds);
  const [id, members, octets] = childrenOf(root, tags.sequence, 'test');
  const [flag, number] = childrenOf(members, tags.set, 'test');
  t.equal(oidOf(id, 'test'), '1.2.840.10045.2.1');
  t.equal(booleanOf(flag, 'test'), true);
  t.equal(smallIntegerOf(number, 'test'), 5);
  t.same(contentOf(octets, tags.octetString, 'test'), Buffer.of(1, 2));
  t.same(root.raw, der);
  t.equal(members?.raw.toString('hex'), '31060101ff020105');
  t.same(encodeDer(encoded(der)), der, 'DER that exists is put in as it is');
});

t.test('a long content has its length in several bytes', async t => {
  const text = 'x'.repeat(300);
  const element = readDer(encodeDer(sequence(utf8String(text))), 'test', bounds);
  t.equal(contentOf(element.children[0], tags.utf8String, 'test').toString(), text);
});

t.test('integers are minimal and positive', async t => {
  t.equal(hexOf(integer(Buffer.of(0, 0, 0))), '020100');
  t.equal(hexOf(integer(Buffer.of(0, 0x7f))), '02017f');
  t.equal(hexOf(integer(Buffer.of(0x80))), '02020080');
});

t.test('times change their form in 1950 and in 2050', async t => {
  const written = (ms: number) => encodeDer(time(ms)).subarray(2).toString();
  t.equal(written(Date.UTC(2049, 11, 31, 23, 59, 59, 999)), '491231235959Z');
  t.equal(written(Date.UTC(2050, 0, 1)), '20500101000000Z');
  t.equal(written(Date.UTC(1969, 11, 31, 23, 55)), '691231235500Z', 'a board that woke in 1970 dates back into 1969');
  t.equal(written(Date.UTC(1949, 0, 1)), '19490101000000Z');
});

t.test('anything but canonical DER is refused', async t => {
  for (const [what, hex] of [
    ['nothing', ''],
    ['a tag alone', '30'],
    ['trailing bytes', '020105ff'],
    ['a second element', '020105020105'],
    ['less content than it says', '0405aabb'],
    ['an indefinite length', '30800201050000'],
    ['a length with a leading zero', '0282000105'],
    ['a long form for a short length', '02810105'],
    ['an integer with a leading zero', '02020005'],
    ['an integer with two leading zeros', '0203000005'],
    ['a length of five bytes', '0285010000000105'],
    ['a negative length', '0284ffffffff05'],
    ['an empty bit string', '300403000201'],
    ['a tag of several bytes', '1f0105'],
    ['a tag of several bytes inside', '30039f0105'],
  ] as const) {
    t.throws(() => read(hex), { code: 'INVALID_INPUT' }, what);
  }
});

t.test('size and depth are bounded', async t => {
  const deep = (levels: number) =>
    Array.from({ length: levels }).reduce<Buffer>(
      inner => encodeDer(sequence(encoded(inner))),
      Buffer.from('0500', 'hex'),
    );
  t.ok(readDer(deep(7), 'test', bounds));
  t.throws(() => readDer(deep(8), 'test', bounds), { code: 'INVALID_INPUT', message: /deeper than 8/ });
  t.throws(() => readDer(Buffer.alloc(4097), 'test', bounds), { code: 'TOO_LARGE', message: /at most 4096/ });
});

t.test('a value of another type is refused', async t => {
  const number = read('020105');
  t.throws(() => childrenOf(number, tags.sequence, 'test'), {
    code: 'INVALID_INPUT',
    message: /expected DER tag 0x30, found tag 0x2/,
  });
  t.throws(() => childrenOf(undefined, tags.sequence, 'test'), { message: /found nothing/ });
  t.throws(() => booleanOf(read('010101'), 'test'), { message: /not a boolean/ });
  t.throws(() => booleanOf(read('0102ffff'), 'test'), { message: /not a boolean/ });
  t.throws(() => smallIntegerOf(read('0201ff'), 'test'), { message: /0 to 127/ });
  t.throws(() => smallIntegerOf(read('02020100'), 'test'), { message: /0 to 127/ });
  t.throws(() => bitStringOf(read('03020780'), 'test'), { message: /whole bytes/ });
  t.same(bitStringOf(readDer(encodeDer(bitString(Buffer.of(7))), 'test', bounds), 'test'), Buffer.of(7));
});

t.test('an OID that could be read in two ways is refused', async t => {
  t.equal(oidOf(read('0603551d11'), 'test'), '2.5.29.17');
  for (const [what, hex] of [
    ['empty', '0600'],
    ['unfinished', '0604551d1180'],
    ['padded', '0604551d8011'],
    ['beyond 32 bits', '0608559fffffffffff7f'],
  ] as const) {
    t.throws(() => oidOf(read(hex), 'test'), { code: 'INVALID_INPUT' }, what);
  }
});

t.test('of any bytes either all is accounted for or the input is refused', async () => {
  const checkRaw = (element: DerElement): boolean =>
    element.children.length === 0 ||
    (Buffer.concat(element.children.map(child => child.raw)).equals(element.content) &&
      element.children.every(checkRaw));
  const property = fc.property(fc.uint8Array({ maxLength: 64 }), bytes => {
    try {
      const element = readDer(bytes, 'fuzz', bounds);
      return element.raw.equals(bytes) && checkRaw(element);
    } catch (error) {
      return isMesoliteError(error, 'INVALID_INPUT');
    }
  });
  fc.assert(property, { seed: 20, numRuns: 5000 });
});
