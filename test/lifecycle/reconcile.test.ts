import { createHash } from 'node:crypto';
import t from 'tap';
import { decode } from '../../src/base/shape.ts';
import { type HeldTask, reconcile } from '../../src/lifecycle/reconcile.ts';
import { assignmentHash, specHash } from '../../src/lifecycle/spec-hash.ts';
import { type TaskSpec, taskSpecSchema } from '../../src/model/task.ts';
import { taskSpec } from '../fixtures/task-spec.ts';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const spec = (id: string, changes: Partial<TaskSpec> = {}) => taskSpec({ id, ...changes });
const desired = (...specs: TaskSpec[]) => new Map(specs.map(s => [s.id, s]));
const held = (...tasks: HeldTask[]) => new Map(tasks.map(task => [task.spec.id, task]));
const running = (s: TaskSpec): HeldTask => ({ spec: s, ended: false });
const ended = (s: TaskSpec): HeldTask => ({ spec: s, ended: true });

/** What arrives again from the wire: the same values in other objects, with the fields in another order. */
const again = (s: TaskSpec): TaskSpec => {
  const copy = structuredClone(s);
  return { ...Object.fromEntries(Object.entries(copy).reverse()), ...copy, env: { ...copy.env } };
};

t.test('new tasks are launched, unwanted ones killed, ended unwanted ones forgotten', async t => {
  const result = reconcile(
    desired(spec('new'), spec('same')),
    held(running(spec('same')), running(spec('gone')), ended(spec('old'))),
    sha256,
  );
  t.strictSame(result, { launch: [spec('new')], keep: ['same'], kill: ['gone'], forget: ['old'], conflict: [] });
});

t.test('an unchanged spec is kept, however often it arrives', async t => {
  const specs = [spec('a', { env: { B: '2', A: '1' } }), spec('b')];
  const result = reconcile(desired(...specs.map(again)), held(...specs.map(running)), sha256);
  t.strictSame(result, { launch: [], keep: ['a', 'b'], kill: [], forget: [], conflict: [] });
});

t.test('a task that has ended is not run again while it is still wanted', async t => {
  const result = reconcile(desired(spec('a')), held(ended(spec('a'))), sha256);
  t.strictSame(result, { launch: [], keep: ['a'], kill: [], forget: [], conflict: [] });
});

t.test('another spec under the same id is a conflict, and what runs goes on', async t => {
  const result = reconcile(desired(spec('a', { command: ['other'] })), held(running(spec('a'))), sha256);
  t.strictSame(result, { launch: [], keep: [], kill: [], forget: [], conflict: ['a'] });
});

t.test('a limit that only a newer master knows counts in the hash, and nowhere else', async t => {
  const newer = { ...spec('a.default.1'), limits: { mem: 64_000, newer: 1 } };
  const heard = decode(taskSpecSchema, structuredClone(newer), 'task');
  t.equal(specHash(heard, sha256), specHash(newer, sha256));
  t.not(specHash(heard, sha256), specHash({ ...newer, limits: { mem: 64_000 } }, sha256));
  t.throws(() => decode(taskSpecSchema, { ...newer, limits: { mem: 'all' } }, 'task'), { message: /limits\.mem/ });
});

t.test('a hash names what a spec says, not how it was written', async t => {
  const one = spec('a', { env: { A: '1', B: '2' }, command: ['x', 'y'] });
  t.equal(specHash(again(one), sha256), specHash(one, sha256));
  t.equal(specHash(spec('a', { env: { B: '2', A: '1' }, command: ['x', 'y'] }), sha256), specHash(one, sha256));
  t.not(specHash(spec('a', { command: ['y', 'x'] }), sha256), specHash(spec('a', { command: ['x', 'y'] }), sha256));
});

t.test('the hash of a set does not depend on the order of its tasks', async t => {
  const [a, b] = [spec('a'), spec('b')];
  t.equal(assignmentHash([a, b], sha256), assignmentHash([b, a], sha256));
  t.not(assignmentHash([a, b], sha256), assignmentHash([a], sha256));
  t.not(assignmentHash([a], sha256), assignmentHash([spec('a', { killGraceMs: 1 })], sha256));
});
