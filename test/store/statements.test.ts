import type { SqliteStatement } from 'kysely';
import t from 'tap';
import { preparedOnce } from '../../src/store/statements.ts';

function makeCounting() {
  const texts: string[] = [];
  const prepare = preparedOnce((sql): SqliteStatement => {
    texts.push(sql);
    return {
      reader: false,
      all: () => [],
      run: () => ({ changes: 0, lastInsertRowid: 0 }),
      iterate: () => [].values(),
    };
  });
  return { texts, prepare };
}

t.test('a text is prepared once', async t => {
  const { texts, prepare } = makeCounting();
  t.equal(prepare('a'), prepare('a'));
  prepare('b');
  t.same(texts, ['a', 'b']);
});

t.test('of many texts, the ones in use stay and the oldest goes', async t => {
  const { texts, prepare } = makeCounting();
  prepare('used');
  prepare('unused');
  for (let i = 0; i < 255; i++) {
    prepare(`text ${i}`);
    prepare('used');
  }
  texts.length = 0;
  prepare('used');
  prepare('text 254');
  t.same(texts, []);
  prepare('unused');
  t.same(texts, ['unused']);
});
