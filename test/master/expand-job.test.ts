import t from 'tap';
import { expandJob, type PresentTask, resourcesOf } from '../../src/master/expand-job.ts';
import { makeTaskSpec } from '../../src/master/task-spec.ts';
import { decodeDocument, type Job } from '../../src/model/document.ts';

function job(spec: object): Job {
  const document = decodeDocument(
    { apiVersion: 'mesolite/v1', kind: 'Job', metadata: { name: 'hello' }, spec: { command: ['true'], ...spec } },
    'test',
  );
  if (document.kind !== 'Job') throw new Error('not a job');
  return document;
}

const live = (label: string): PresentTask => ({ id: `hello.default.${label}-old`, label, live: true });
const ended = (label: string): PresentTask => ({ ...live(label), live: false });
const suffix = () => 'new';

t.test('a new service gets its instances, each with an id of its own', async t => {
  const { add, stop } = expandJob(job({ instances: 2 }), undefined, [], suffix);
  t.strictSame(
    add.map(task => task.id),
    ['hello.default.0-new', 'hello.default.1-new'],
  );
  t.strictSame(stop, []);
});

t.test('the same service again changes nothing while its instances live', async t => {
  const same = job({ instances: 2 });
  t.strictSame(expandJob(same, same, [live('0'), live('1')], suffix), { add: [], stop: [] });
});

t.test('the same service again replaces an instance that has ended', async t => {
  const same = job({ instances: 2 });
  const { add, stop } = expandJob(same, same, [live('0'), ended('1')], suffix);
  t.strictSame(
    add.map(task => task.label),
    ['1'],
  );
  t.strictSame(stop, []);
});

t.test('scaling down stops the surplus and leaves the rest', async t => {
  const { add, stop } = expandJob(job({ instances: 1 }), job({ instances: 2 }), [live('0'), live('1')], suffix);
  t.strictSame(add, []);
  t.strictSame(stop, ['hello.default.1-old']);
});

t.test('a changed command replaces every instance', async t => {
  const { add, stop } = expandJob(job({ command: ['false'] }), job({}), [live('0')], suffix);
  t.strictSame(
    add.map(task => task.label),
    ['0'],
  );
  t.strictSame(stop, ['hello.default.0-old']);
});

t.test('a changed priority alone restarts nothing', async t => {
  t.strictSame(expandJob(job({ priority: 9 }), job({ priority: 1 }), [live('0')], suffix), { add: [], stop: [] });
});

t.test('a batch runs each task once, whatever came of it', async t => {
  const same = job({ type: 'batch', tasks: [{ name: 'a' }, { name: 'b', priority: 90 }] });
  t.strictSame(
    expandJob(same, undefined, [], suffix).add.map(task => task.priority),
    [50, 90],
  );
  t.strictSame(expandJob(same, same, [ended('a'), live('b')], suffix), { add: [], stop: [] });
});

t.test('a task that is added to a batch runs, and those that ran do not run again', async t => {
  const before = job({ type: 'batch', tasks: [{ name: 'a' }] });
  const after = job({ type: 'batch', tasks: [{ name: 'a' }, { name: 'b' }] });
  t.strictSame(
    expandJob(after, before, [ended('a')], suffix).add.map(task => task.label),
    ['b'],
  );
});

t.test('a task spec has the allocated ports in the job’s order and the task’s own command', async t => {
  const batch = job({
    type: 'batch',
    ports: [{ name: 'http' }, { name: 'raw', protocol: 'tcp' }],
    env: { A: '1', B: '1' },
    tasks: [{ name: 'a', command: ['own'], env: { B: '2' } }],
  });
  const spec = makeTaskSpec(batch, { id: 'x', label: 'a' }, resourcesOf(batch.spec.resources), [20_001, 20_000]);
  t.strictSame(spec.command, ['own']);
  t.strictSame(spec.env, { A: '1', B: '2' });
  t.strictSame(
    spec.ports.map(port => [port.name, port.number]),
    [
      ['http', 20_001],
      ['raw', 20_000],
    ],
  );
  t.equal(spec.restart.policy, 'never');
  t.strictSame(spec.resources.scalars, { cpus: 100, mem: 32_000, disk: 0 });
});
