import t from 'tap';
import { expandJob, type PresentTask, resourcesOf } from '../../src/master/expand-job.ts';
import { toPending } from '../../src/master/pending-task.ts';
import { makeTaskSpec, portCountOf, taskOf } from '../../src/master/task-spec.ts';
import { decodeDocument, type Job } from '../../src/model/document.ts';
import { nodePortsOf } from '../../src/model/job.ts';
import { printRunLabel } from '../../src/model/run-label.ts';

function job(spec: object): Job {
  const document = decodeDocument(
    { apiVersion: 'mesolite/v1', kind: 'Job', metadata: { name: 'hello' }, spec: { command: ['true'], ...spec } },
    'test',
  );
  if (document.kind !== 'Job') throw new Error('not a job');
  return document;
}

const onPi = { id: 'pi-1', labels: { site: 'roof' } };
const tools = { sha256: (text: string) => text, suffix: () => 'new' };
const expand = (wanted: Job, present: readonly PresentTask[]) => expandJob(wanted, present, tools);

/** Live tasks with these labels, as `job` made them. */
function live(made: Job, ...labels: string[]): PresentTask[] {
  const templates = new Map(expand(made, []).add.map(task => [task.label, task.template]));
  return labels.map(label => {
    const template = templates.get(label) ?? 'gone';
    return { id: `hello.default.${label}-old`, label, template, placed: true, live: true, ran: false };
  });
}

const ended = (tasks: readonly PresentTask[]) => tasks.map(task => ({ ...task, live: false, ran: true }));
const withdrawn = (tasks: readonly PresentTask[]) => tasks.map(task => ({ ...task, live: false }));

t.test('a new service gets its instances, each with an id of its own', async t => {
  const { add, stop } = expand(job({ instances: 2 }), []);
  t.strictSame(
    add.map(task => task.id),
    ['hello.default.0-new', 'hello.default.1-new'],
  );
  t.strictSame(stop, []);
});

t.test('the same service again changes nothing while its instances live', async t => {
  const same = job({ instances: 2 });
  t.strictSame(expand(same, live(same, '0', '1')), { add: [], stop: [] });
});

t.test('the same service again replaces an instance that has ended', async t => {
  const same = job({ instances: 2 });
  const { add, stop } = expand(same, [...live(same, '0'), ...ended(live(same, '1'))]);
  t.strictSame(
    add.map(task => task.label),
    ['1'],
  );
  t.strictSame(stop, []);
});

t.test('scaling down stops the surplus and leaves the rest', async t => {
  const { add, stop } = expand(job({ instances: 1 }), live(job({ instances: 2 }), '0', '1'));
  t.strictSame(add, []);
  t.strictSame(stop, ['hello.default.1-old']);
});

t.test('a changed command replaces every instance', async t => {
  const { add, stop } = expand(job({ command: ['false'] }), live(job({}), '0'));
  t.strictSame(
    add.map(task => task.label),
    ['0'],
  );
  t.strictSame(stop, ['hello.default.0-old']);
});

t.test('a changed priority alone restarts nothing', async t => {
  t.strictSame(expand(job({ priority: 9 }), live(job({ priority: 1 }), '0')), { add: [], stop: [] });
});

t.test('a batch runs each task once, whatever came of it, unless it was withdrawn', async t => {
  const same = job({ type: 'batch', tasks: [{ name: 'a' }, { name: 'b', priority: 90 }] });
  t.strictSame(
    expand(same, []).add.map(task => task.priority),
    [50, 90],
  );
  t.strictSame(expand(same, [...ended(live(same, 'a')), ...live(same, 'b')]), { add: [], stop: [] });
  t.strictSame(
    expand(same, [...ended(live(same, 'a')), ...withdrawn(live(same, 'b'))]).add.map(task => task.label),
    ['b'],
  );
});

t.test('a task that is added to a batch runs, and those that ran do not run again', async t => {
  const before = job({ type: 'batch', tasks: [{ name: 'a' }] });
  const after = job({ type: 'batch', tasks: [{ name: 'a' }, { name: 'b' }] });
  t.strictSame(
    expand(after, ended(live(before, 'a'))).add.map(task => task.label),
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
  const spec = makeTaskSpec(batch, { id: 'x', label: 'a' }, resourcesOf(batch.spec.resources), [20_001, 20_000], onPi);
  t.strictSame(spec.command, ['own']);
  t.strictSame(spec.env, { A: '1', B: '2' });
  t.strictSame(
    spec.ports.map(port => [port.name, port.number]),
    [
      ['http', 20_001],
      ['raw', 20_000],
    ],
  );
  t.match(spec.restart, { policy: 'never', attempts: 10 });
  t.strictSame(spec.resources.scalars, { cpus: 100, mem: 32_000, disk: 0 });
  t.notOk('limits' in spec, 'what it did not ask for holds it to nothing');
});

t.test('a service is started again for ever, unless it says after how many failures it is not', async t => {
  const restartOf = (spec: object) =>
    makeTaskSpec(job(spec), { id: 'x', label: '0' }, resourcesOf(job(spec).spec.resources), [], onPi).restart;
  t.match(restartOf({}), { policy: 'always', attempts: Number.MAX_SAFE_INTEGER });
  t.match(restartOf({ type: 'system', restart: { policy: 'onFailure' } }), { attempts: Number.MAX_SAFE_INTEGER });
  t.match(restartOf({ restart: { attempts: 3 } }), { attempts: 3 });
});

t.test('a task is held to the memory that it asked for, or to its limits', t => {
  const limitsOf = (spec: object) => {
    const document = job(spec);
    return makeTaskSpec(document, { id: 'x', label: '0' }, resourcesOf(document.spec.resources), [], onPi).limits;
  };
  t.strictSame(limitsOf({ resources: { cpus: 1, mem: 64 } }), { mem: 64_000 });
  t.strictSame(limitsOf({ resources: { mem: 64 }, limits: { mem: 128 } }), { mem: 128_000 });
  t.strictSame(limitsOf({ limits: { cpus: 0.5, memHigh: 20, pids: 10 } }), { cpus: 500, memHigh: 20_000, pids: 10 });
  t.end();
});

t.test('ports of upstreams come behind those of the task, in the order of the file', t => {
  const upstreams = [
    'plain',
    { service: 'a', localPort: 'auto' },
    { service: 'b', localPort: 5432 },
    { service: 'c.other', localPort: 'auto' },
  ];
  const document = job({ ports: [{ name: 'http' }], upstreams });
  t.equal(portCountOf(document), 3);
  t.same(nodePortsOf(document.spec), [5432]);
  const spec = makeTaskSpec(document, { id: 'x', label: '0' }, resourcesOf(document.spec.resources), [1, 2, 3], onPi);
  t.match(spec.ports, [{ name: 'http', number: 1 }]);
  t.same(spec.upstreams, ['plain', 'a', 'b', 'c.other']);
  t.same(spec.localPorts, [
    { service: 'a', port: 2 },
    { service: 'b', port: 5432 },
    { service: 'c.other', port: 3 },
  ]);
  t.end();
});

t.test('in steps what serves stays until it is replaced, and what serves nobody is replaced at once', async t => {
  const changed = job({ instances: 3, command: ['other'] });
  const [first, second, third] = live(job({ instances: 4 }), '0', '1', '2');
  if (!first || !second || !third) throw new Error('three tasks');
  const waiting = { ...second, placed: false };
  const surplus = live(job({ instances: 4 }), '3');
  const { add, stop } = expandJob(changed, [first, waiting, ...surplus], tools, { inSteps: true });
  t.same(
    add.map(task => task.label),
    ['1', '2'],
  );
  t.same(stop, ['hello.default.1-old', 'hello.default.3-old']);
  t.strictSame(expandJob(changed, [first, second, third], tools, { inSteps: true }), { add: [], stop: [] });
});

t.test('a system job has a task for each node that is named, and loses those of others', async t => {
  const probe = job({ type: 'system', instances: 7 });
  const on = (present: readonly PresentTask[], nodes: string[], keepEnded = false) =>
    expandJob(probe, present, tools, { nodes, keepEnded });
  const labels = ({ add }: ReturnType<typeof on>) => add.map(task => task.label);
  t.same(labels(on([], ['pi-1', 'pi-2'])), ['pi-1', 'pi-2']);
  const present = on([], ['pi-1', 'pi-2']).add.map(task => ({ ...task, placed: true, live: true, ran: false }));
  t.strictSame(on(present, ['pi-1', 'pi-2']), { add: [], stop: [] });
  t.match(on(present, ['pi-2', 'pi-3']), { add: [{ label: 'pi-3' }], stop: ['hello.default.pi-1-new'] });
  const failed = present.map(task => ({ ...task, live: false, ran: true }));
  t.same(labels(on(failed, ['pi-1', 'pi-2'])), ['pi-1', 'pi-2'], 'who applies it again wants it to run');
  t.same(labels(on(failed, ['pi-1', 'pi-2', 'pi-3'], true)), ['pi-3'], 'a node that comes does not');
});

t.test('a periodic job runs what is due, once, and leaves what runs as it began', async t => {
  const periodic = { cron: '* * * * *' };
  const tidy = job({
    type: 'periodic',
    periodic,
    tasks: [
      { name: 'a', env: { A: '1' } },
      { name: 'b', after: ['a'] },
    ],
  });
  t.strictSame(expand(tidy, []), { add: [], stop: [] });
  const due = ['a', 'b'].map(name => printRunLabel({ at: Date.UTC(2030, 0, 1, 3), name }));
  const { add } = expandJob(tidy, [], tools, { due });
  t.same(
    add.map(task => task.label),
    ['20300101t030000z-a', '20300101t030000z-b'],
  );
  const present = add.map(task => ({ ...task, placed: true, live: true, ran: false }));
  const changed = job({ type: 'periodic', periodic, command: ['other'] });
  t.strictSame(expandJob(changed, present, tools, { due }), { add: [], stop: [] });
  t.match(expand(job({}), present), { stop: present.map(task => task.id) }, 'another type of job ends them');
  t.match(taskOf(tidy, '20300101t030000z-b'), { after: ['20300101t030000z-a'] });
  t.equal(taskOf(tidy, '20300101t030000z-a').env.A, '1');
});

t.test('placeholders of an environment are filled in from the node, the task and its ports', async t => {
  const env = {
    WHERE: '{{ node.labels.site }}/{{node.name}}',
    WHO: '{{ job.namespace }}.{{ job.name }}.{{ task.name }}={{ task.id }}',
    URL: 'http://0.0.0.0:{{ ports.web }}/',
    PLAIN: '\\{{ node.name }} and {{{',
  };
  const templated = job({ env, ports: [{ name: 'web' }], constraints: [{ attribute: 'arch', operator: 'exists' }] });
  const spec = makeTaskSpec(templated, { id: 'x', label: '0' }, resourcesOf(templated.spec.resources), [81], onPi);
  t.same(spec.env, {
    WHERE: 'roof/pi-1',
    WHO: 'default.hello.0=x',
    URL: 'http://0.0.0.0:81/',
    PLAIN: '{{ node.name }} and {{{',
  });
  const waiting = { id: 'x', job: 'hello', namespace: 'default', type: 'service', label: '0' } as const;
  const { constraints } = toPending(
    { ...waiting, priority: 1, role: '*', submittedAt: 0, position: 0, template: 't' },
    templated,
  );
  t.match(constraints, [{ attribute: 'arch' }, { attribute: 'site', operator: 'exists' }]);
  t.throws(() => job({ env: { A: '{{ node.label.site }}' } }), /env\.A: \{\{ node\.label\.site \}\} is not known/);
  t.throws(() => job({ env: { A: '{{ ports.web }}' } }), /ports\.web \}\} is not known/);
  // it is read once, from left to right: one that tried all ways would not come back
  const open = `{{${' '.repeat(32_000)}`;
  t.match(job({ env: { A: open } }).spec.env, { A: open });
});
