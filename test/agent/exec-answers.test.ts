import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { execBounds, makeExecAnswers } from '../../src/agent/exec-answers.ts';
import { makeOutputStreams } from '../../src/agent/output-streams.ts';
import type { AccessRecord } from '../../src/model/access.ts';
import type { Ask, LogChunk } from '../../src/model/message.ts';
import { outputBounds } from '../../src/model/output.ts';
import { AgentWords } from '../fixtures/agent-words.ts';
import { lives } from '../fixtures/fleet.ts';
import { until } from '../fixtures/fleet-until.ts';
import { taskSpec } from '../fixtures/task-spec.ts';

const spec = taskSpec({ id: 'web.default.0-a' });

interface Settings {
  readonly isAllowed: boolean;
  readonly isHere: boolean;
  readonly group: string;
  /** Why it cannot run as its task does. */
  readonly why: string;
}

function stage(t: Test, { isAllowed = true, isHere = true, group, why }: Partial<Settings> = {}) {
  const dir = t.testdir();
  const words = new AgentWords();
  const { sender, clock } = words;
  const ending = new AbortController();
  const streams = makeOutputStreams({ sender, clock }, ending.signal);
  const records: AccessRecord[] = [];
  const execs = makeExecAnswers({
    sender,
    streams,
    clock,
    isAllowed,
    find: () => (isHere ? spec : undefined),
    lower: async () => (why === undefined ? { prefix: [] } : { why }),
    principalOf: () => 'edge/ns/default/sa/web',
    environmentOf: () => ({ PATH: process.env.PATH ?? '', WHO: 'the task' }),
    sandboxOf: () => dir,
    groupOf: () => group,
    record: record => void records.push(record),
  });
  const run = (script: string, more: object = {}) => execs.answer({ ...ask(['sh', '-c', script]), ...more });
  /** Takes what is said until the end. */
  async function take(stepMs = 10) {
    const said: LogChunk[] = [];
    while (said.at(-1)?.end !== true) {
      said.push(...words.take('log'));
      streams.acknowledge([{ id: 'e1', taken: said.at(-1)?.number ?? 0 }]);
      await clock.advance(stepMs);
    }
    const text = (stream: string) =>
      said
        .filter(each => each.stream === stream)
        .map(({ data }) => data)
        .join('');
    return { out: text('stdout'), err: text('stderr'), last: said.at(-1) };
  }
  return { dir, words, clock, streams, records, execs, run, take, ending };
}

function ask(command: readonly string[]): Extract<Ask, { what: 'exec' }> {
  return { what: 'exec', id: 'e1', task: spec.id, by: 'ann', command: [...command], timeoutMs: 60_000 };
}

t.test('a command runs where its task works, with its environment and what it is given to read', async t => {
  const { dir, run, take, records, streams } = stage(t);
  const done = run('cat; echo "$WHO in $(pwd)"; echo oops >&2; exit 7', { stdin: 'given\n' });
  t.match(await take(), { out: `given\nthe task in ${dir}\n`, err: 'oops\n', last: { end: true, exit: 7 } });
  await done;
  t.equal(streams.size, 0);
  t.match(records, [
    {
      direction: 'exec',
      source: 'operator/ann',
      destination: 'edge/ns/default/sa/web',
      task: spec.id,
      path: 'sh and 2 arguments',
      verdict: 'allow',
      audited: 'exec',
    },
  ]);
  t.notMatch(JSON.stringify(records), /oops/, 'arguments may be secrets');
});

t.test('it is held to what its task is held to', async t => {
  const group = t.testdir();
  const { run, take } = stage(t, { group });
  const done = run('echo $PPID');
  const { out } = await take();
  t.equal(readFileSync(join(group, 'cgroup.procs'), 'utf8'), out, 'the group of the task has it, before it begins');
  await done;

  const lowered = stage(t);
  const said = lowered.run('cat /proc/self/oom_score_adj; ulimit -c');
  t.equal(
    (await lowered.take()).out,
    '500\n0\n',
    'it goes before the agent when memory runs out, and leaves no core file',
  );
  await said;

  const gone = stage(t, { group: join(group, 'gone') });
  const refused = gone.run('echo ran');
  t.match(await gone.take(), { out: '', last: { end: true, exit: 125 } });
  await refused;
});

t.test('how it ends is told as shells tell it', async t => {
  for (const [command, exit] of [
    [['sh', '-c', 'kill -TERM $$'], 143],
    [['no-such-program'], 127],
    [['true'], 0],
  ] as const) {
    const { execs, take } = stage(t);
    const done = execs.answer(ask(command));
    t.equal((await take()).last?.exit, exit, command[0]);
    await done;
  }
});

t.test('a node that does not allow it refuses, and that is in its audit too', async t => {
  const { run, words, records, dir } = stage(t, { isAllowed: false });
  await run(`touch ${dir}/ran`);
  t.match(words.take('log'), [{ end: true, code: 'FORBIDDEN', error: /no --allow-exec/ }]);
  t.match(records, [{ verdict: 'deny', direction: 'exec', source: 'operator/ann' }]);
  t.throws(() => readFileSync(join(dir, 'ran')));

  const absent = stage(t, { isHere: false });
  await absent.run('true');
  t.match(absent.words.take('log'), [{ end: true, code: 'CONFLICT' }]);
  t.match(absent.records, [{ verdict: 'deny' }]);

  const unable = stage(t, { why: 'there is no such user' });
  await unable.run('true');
  t.match(unable.words.take('log'), [{ end: true, code: 'FORBIDDEN', error: 'there is no such user' }]);
  t.match(unable.records, [{ verdict: 'deny', rule: 'there is no such user' }]);
});

t.test('it ends with all that it started when nobody listens any more, or its time is over', async t => {
  for (const end of ['caller', 'lease', 'time'] as const) {
    const { dir, run, clock, streams, words } = stage(t);
    mkdirSync(join(dir, end));
    const pids = join(dir, end, 'pids');
    const done = run(`sleep 1000 & echo "$$ $!" > ${pids}.new; mv ${pids}.new ${pids}; wait`, {
      timeoutMs: outputBounds.leaseMs / 2,
    });
    const [own, child] = await until('it has written who it is', () => readPids(pids));
    if (end === 'caller') streams.acknowledge([{ id: 'e1', taken: 0, end: true }]);
    else if (end === 'lease') await clock.advance(outputBounds.leaseMs);
    else await clock.advance(outputBounds.leaseMs / 2);
    await done;
    await until('it is gone', () => !lives(own) && !lives(child));
    const last = words.take('log').at(-1);
    if (end === 'time') t.match(last, { end: true, code: 'TIMED_OUT' });
    t.equal(clock.sleepers, 0, end);
  }
});

t.test('what it writes waits for whoever reads it, and has a bound', async t => {
  const { run, words, clock, take } = stage(t);
  const done = run('yes | head -c 20000000', { timeoutMs: 3_600_000 });
  await until('the window is full', async () => {
    await clock.advance(200);
    return words.words.length >= outputBounds.window;
  });
  t.equal(words.words.length, outputBounds.window);
  const { last, out } = await take(1_000);
  t.match(last, { end: true, code: 'TOO_LARGE' });
  t.ok(out.length <= execBounds.outputBytes);
  await done;
});

function readPids(file: string): number[] | undefined {
  try {
    return readFileSync(file, 'utf8').trim().split(' ').map(Number);
  } catch {
    return undefined;
  }
}
