import fc from 'fast-check';
import t from 'tap';
import { applyAssignment, type DesiredSet, nothingDesired } from '../../src/lifecycle/assignment.ts';
import type { Assignment } from '../../src/model/message.ts';
import { maxTasksPerNode } from '../../src/model/task-slots.ts';
import { taskSpec } from '../fixtures/task-spec.ts';

const assignment = (changes: Partial<Assignment>): Assignment => ({
  epoch: 1,
  generation: 1,
  full: true,
  base: 0,
  put: [],
  remove: [],
  ...changes,
});
const spec = (id: string) => taskSpec({ id });

/** The set after assignments that are all taken. */
function after(...assignments: Assignment[]): DesiredSet {
  return assignments.reduce((desired, incoming) => {
    const applied = applyAssignment(desired, incoming);
    if (applied.result !== 'taken') throw new Error(`expected taken, got ${applied.result}`);
    return applied.desired;
  }, nothingDesired);
}

t.test('a full set replaces what was wanted before', async t => {
  const desired = after(assignment({ put: [spec('a'), spec('b')] }), assignment({ generation: 2, put: [spec('c')] }));
  t.strictSame([...desired.tasks.keys()], ['c']);
  t.match(desired, { epoch: 1, generation: 2 });
});

t.test('a step adds and removes on its own base', async t => {
  const desired = after(
    assignment({ put: [spec('a'), spec('b')] }),
    assignment({ generation: 2, full: false, base: 1, put: [spec('c')], remove: ['a', 'unknown'] }),
  );
  t.strictSame([...desired.tasks.keys()], ['b', 'c']);
});

t.test('what is older is ignored, of an older master even when its number is higher', async t => {
  const desired = after(assignment({ epoch: 2, generation: 5, put: [spec('a')] }));
  t.strictSame(applyAssignment(desired, assignment({ epoch: 2, generation: 4 })), { result: 'ignored' });
  t.strictSame(applyAssignment(desired, assignment({ epoch: 1, generation: 9 })), { result: 'ignored' });
});

t.test('a step that comes again is ignored, a full set that comes again is taken', async t => {
  const step = assignment({ generation: 2, full: false, base: 1, put: [spec('b')] });
  const desired = after(assignment({ put: [spec('a')] }), step);
  t.strictSame(applyAssignment(desired, step), { result: 'ignored' });
  t.equal(applyAssignment(desired, assignment({ generation: 2, put: [spec('a')] })).result, 'taken');
});

t.test('a step on another base, or of a new master, is a gap', async t => {
  const desired = after(assignment({ generation: 3 }));
  const step = { full: false, put: [spec('a')] };
  t.strictSame(applyAssignment(desired, assignment({ ...step, generation: 6, base: 5 })), { result: 'gap' });
  t.strictSame(applyAssignment(desired, assignment({ ...step, generation: 6, base: 2 })), { result: 'gap' });
  t.strictSame(applyAssignment(desired, assignment({ ...step, epoch: 2, generation: 1, base: 3 })), { result: 'gap' });
});

t.test('more tasks than a node may have are refused', async t => {
  const many = Array.from({ length: maxTasksPerNode }, (_, i) => spec(`t${i}`));
  const desired = after(assignment({ put: many }));
  const more = applyAssignment(desired, assignment({ generation: 2, full: false, base: 1, put: [spec('more')] }));
  t.match(more, { result: 'refused', reason: /1001 tasks, at most 1000/ });
});

t.test(
  'whatever is lost, doubled or overtaken on the way: a node never goes back, and a full set brings it to where the master is',
  async () => {
    const id = fc.constantFrom('a', 'b', 'c', 'd');
    const change = fc.record({ put: fc.array(id, { maxLength: 2 }), remove: fc.array(id, { maxLength: 2 }) });
    const changes = fc.array(change, { minLength: 1, maxLength: 8 });
    const delivery = fc.array(fc.nat(), { maxLength: 30 });
    fc.assert(
      fc.property(changes, delivery, (changes, delivery) => {
        // the master's own history: each generation as a step, with the set it results in
        let wanted = after(assignment({ generation: 1 }));
        const history = [wanted];
        const sent = changes.map((change, i) => {
          const remove = change.remove.filter(name => !change.put.includes(name));
          const put = change.put.map(spec);
          const step = assignment({ generation: i + 2, full: false, base: i + 1, put, remove });
          wanted = after(assignment({ generation: i + 1, put: [...wanted.tasks.values()] }), step);
          history.push(wanted);
          return step;
        });
        let node = after(assignment({ generation: 1 }));
        for (const pick of delivery) {
          const step = sent[pick % sent.length];
          if (step === undefined) continue;
          const before = node.generation;
          const applied = applyAssignment(node, step);
          if (applied.result === 'taken') node = applied.desired;
          if (node.generation < before) throw new Error('went back');
          const same = history[node.generation - 1];
          if ([...node.tasks.keys()].sort().join() !== [...(same?.tasks.keys() ?? [])].sort().join()) {
            throw new Error('a set that the master never wanted');
          }
        }
        const full = assignment({ generation: wanted.generation, put: [...wanted.tasks.values()] });
        const healed = applyAssignment(node, full);
        return healed.result === 'taken' && healed.desired.tasks.size === wanted.tasks.size;
      }),
      { seed: 20_303, numRuns: 1_000 },
    );
  },
);
