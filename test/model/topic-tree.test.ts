import fc from 'fast-check';
import t from 'tap';
import { TopicTree } from '../../src/model/topic-tree.ts';

t.test('a filter matches what MQTT 3.1.1, 4.7 says', async t => {
  const cases: readonly (readonly [filter: string, topic: string, matches: boolean])[] = [
    ['a/b', 'a/b', true],
    ['a/b', 'a/b/c', false],
    ['a/+', 'a/b', true],
    ['a/+', 'a', false],
    ['a/+', 'a/', true],
    ['a/+', 'a/b/c', false],
    ['+/+', '/finance', true],
    ['/+', '/finance', true],
    ['+', '/finance', false],
    ['a/#', 'a', true],
    ['a/#', 'a/b/c', true],
    ['#', 'a/b', true],
    ['#', '$SYS/x', false],
    ['+/x', '$SYS/x', false],
    ['$SYS/#', '$SYS/x', true],
    ['a/+/c', 'a/b/c', true],
    ['constructor', '__proto__', false],
  ];
  for (const [filter, topic, matches] of cases) {
    const tree = new TopicTree<string>();
    tree.add(filter, 'x');
    t.equal(tree.match(topic).size === 1, matches, `${filter} ${matches ? 'matches' : 'does not match'} ${topic}`);
  }
});

t.test('a value that fits by several filters is found once', async t => {
  const tree = new TopicTree<string>();
  for (const filter of ['a/b', 'a/+', 'a/#', '#']) tree.add(filter, 'x');
  t.strictSame([...tree.match('a/b')], ['x']);
});

t.test(
  'any sequence of additions and removals finds what trying each filter would, and leaves nothing behind',
  async () => {
    const level = fc.constantFrom('a', 'b', '', '$s');
    const filter = fc
      .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 4 }), fc.boolean())
      .map(([levels, rest]) => [...levels, ...(rest ? ['#'] : [])].join('/'));
    const entry = fc.record({ filter, value: fc.integer({ min: 0, max: 3 }), isRemoval: fc.boolean() });
    const topic = fc.array(level, { minLength: 1, maxLength: 5 }).map(levels => levels.join('/'));
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 30 }), fc.array(topic, { maxLength: 10 }), (entries, topics) => {
        const tree = new TopicTree<number>();
        const held = new Map<string, { filter: string; value: number }>();
        for (const { filter, value, isRemoval } of entries) {
          if (isRemoval) {
            tree.remove(filter, value);
            held.delete(`${filter} ${value}`);
          } else {
            tree.add(filter, value);
            held.set(`${filter} ${value}`, { filter, value });
          }
        }
        for (const topic of topics) {
          const expected = new Set([...held.values()].filter(h => matches(h.filter, topic)).map(h => h.value));
          if ([...tree.match(topic)].sort().join() !== [...expected].sort().join()) return false;
        }
        for (const { filter, value } of held.values()) tree.remove(filter, value);
        return tree.isEmpty;
      }),
      { seed: 1, numRuns: 2000 },
    );
  },
);

/** The plain reading of the specification. */
function matches(filter: string, topic: string): boolean {
  const filters = filter.split('/');
  const names = topic.split('/');
  if (topic.startsWith('$') && (filters[0] === '+' || filters[0] === '#')) return false;
  for (const [i, part] of filters.entries()) {
    if (part === '#') return true;
    if (i >= names.length || (part !== '+' && part !== names[i])) return false;
  }
  return filters.length === names.length;
}
