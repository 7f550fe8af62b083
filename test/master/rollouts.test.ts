import t, { type Test } from 'tap';
import { Gate } from '../../src/base/gate.ts';
import { decode } from '../../src/base/shape.ts';
import { makeDocuments } from '../../src/master/documents.ts';
import type { FleetNode } from '../../src/master/fleet.ts';
import { makeJobs } from '../../src/master/jobs.ts';
import { openPolicies } from '../../src/master/policies.ts';
import { makePushes, type PushOptions } from '../../src/master/pushes.ts';
import { makeRollouts } from '../../src/master/rollouts.ts';
import type { EventKind } from '../../src/model/event.ts';
import type { DocumentAck } from '../../src/model/message.ts';
import { type CallCounts, noCalls, rolloutSpecSchema } from '../../src/model/rollout.ts';
import type { DocumentChange } from '../../src/store/rollouts.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { birthOf, openTestStore, sha256 } from '../fixtures/master-store.ts';
import { MasterWords } from '../fixtures/master-words.ts';

const settings = { trustDomain: 'edge.local', rootNamespace: 'istio-system', meshDefault: 'allow' } as const;

const change = (name: string, action: string | null = 'DENY', namespace = 'default'): DocumentChange => ({
  kind: 'AuthorizationPolicy',
  namespace,
  name,
  json:
    action === null
      ? null
      : JSON.stringify({
          apiVersion: 'security.istio.io/v1',
          kind: 'AuthorizationPolicy',
          metadata: { name, namespace },
          spec: { action, rules: [{}] },
        }),
});
const specOf = (steps: readonly object[], more: object = {}) => decode(rolloutSpecSchema, { steps, ...more }, 'spec');
const canary = specOf([{ nodes: ['pi-1'], for: '30s' }]);

const fleetNode = (id: string, more: Partial<FleetNode> = {}): FleetNode => ({
  id,
  labels: {},
  joinedAt: 0,
  state: 'ready',
  lastSeen: 0,
  birth: birthOf(),
  usage: null,
  boot: 1,
  quarantine: null,
  ...more,
});

async function stage(t: Test) {
  const store = await openTestStore(t);
  const words = new MasterWords();
  const { clock } = words;
  const nodes = ['pi-1', 'pi-2', 'pi-3'].map(id => fleetNode(id));
  const events: (readonly [EventKind, string])[] = [];
  /** Each is a start of a master. */
  const start = async () => {
    const ended = new AbortController();
    const policies = await openPolicies(
      { store, outgoing: words.outgoing, clock, rollout: () => rollouts.active },
      () => settings,
    );
    const rollouts = makeRollouts({
      rollouts: store.rollouts,
      fleet: { list: () => nodes },
      events: { record: (kind, { message }) => void events.push([kind, message]) },
      clock,
      log: new CapturedLog(),
      sha256,
      revision: () => policies.revision,
      publish: policies.publish,
    });
    const pushes = makePushes({ store, rollouts, onPolicies: policies.publish }, settings);
    await rollouts.load();
    await policies.publish();
    const running = rollouts.run(ended.signal);
    const stop = async () => {
      ended.abort();
      await running;
    };
    t.teardown(stop);
    const push = async (changes: readonly DocumentChange[], options: Omit<PushOptions, 'by'> = {}) => {
      const { direct, go } = await pushes.prepare(changes, { by: 'ann', ...options });
      for (const { json, ...ref } of direct) {
        if (json === null) await store.documents.remove(ref);
        else await store.documents.apply([{ ...ref, json }], clock.now());
      }
      return go();
    };
    let seq = 0;
    const head = { v: 1, boot: 1, ts: 0 } as const;
    const says = (node: string, more: Partial<DocumentAck> = {}) => {
      const said = { kind: 'policy', subject: 'all', revision: policies.revision, ...more } as const;
      policies.onAck(node, { ...head, seq: seq++, ...said });
      rollouts.onAck(node, { ...head, seq: seq++, ...said });
    };
    const fares = (node: string, rollout: string, before: Partial<CallCounts>, since: Partial<CallCounts>, boot = 1) =>
      rollouts.onHeartbeat(node, {
        ...head,
        boot,
        seq: seq++,
        full: false,
        usage: {},
        held: '',
        trial: { rollout, before: { ...noCalls, ...before }, since: { ...noCalls, ...since } },
      });
    /** All that are meant acknowledge whatever is published. */
    const acknowledge = () => {
      const { name, spec, state } = rollouts.active ?? {};
      const isLast = spec !== undefined && state !== undefined && state.step + 1 > spec.steps.length;
      for (const { id } of nodes) {
        says(id, isLast || state?.rings.flat().includes(id) ? { rollout: name } : {});
      }
    };
    const live = async (seconds: number) => {
      for (let i = 0; i < seconds; i++) {
        acknowledge();
        await clock.advance(1_000);
      }
    };
    return { policies, pushes, rollouts, push, says, fares, acknowledge, live, stop };
  };
  const published = () =>
    words
      .take('policy')
      .map(({ revision, body }): { revision: number } & Record<string, unknown> => ({ revision, ...body }));
  const names = async () => (await store.documents.list('AuthorizationPolicy')).map(row => row.name);
  return { store, words, clock, nodes, events, start, published, names };
}

t.test('a push by steps is published for the first ring beside what holds, and stored when all have it', async t => {
  const { start, published, names, events } = await stage(t);
  const { push, live, policies, rollouts } = await start();
  await push([change('old')]);
  published();
  const name = await push([change('new'), change('old', null)], { rollout: canary });
  t.equal(name, 'policy-1');
  t.same(await names(), ['old'], 'what holds everywhere is what is stored');
  t.match(published(), [
    {
      documents: [{ metadata: { name: 'old' } }],
      rollout: { name, nodes: ['pi-1'], put: [{ metadata: { name: 'new' } }], remove: [{ name: 'old' }] },
    },
  ]);
  await live(3);
  t.match(await policies.view(['pi-1', 'pi-2', 'pi-3']), [
    { name: 'old', enforcedOn: 2, rollout: { change: 'remove', nodes: ['pi-1'] } },
    { name: 'new', enforcedOn: 0, rollout: { change: 'put', nodes: ['pi-1'] } },
  ]);
  await live(31);
  const [second] = published();
  t.match(second?.rollout, { name });
  t.notOk(Object.hasOwn(Object(second?.rollout), 'nodes'), 'the last step is everybody’s');
  await live(35);
  t.match(await rollouts.list(), [{ name, phase: 'succeeded', step: 2 }]);
  t.same(await names(), ['new']);
  const last = published().at(-1);
  t.match(last?.documents, [{ metadata: { name: 'new' } }]);
  t.equal(last?.rollout, undefined);
  t.ok(Number(last?.revision) > Number(second?.revision));
  t.same(
    events.map(([kind]) => kind),
    ['rollout-started', 'rollout-step', 'rollout-succeeded'],
  );
  t.match(events[0]?.[1], 'policy-1: ann pushed 2 changes; step 1 of 2 (pi-1): pi-1');
});

t.test('what does harm is taken back under a new revision, and nothing of it is stored', async t => {
  const { start, published, names, clock, events } = await stage(t);
  const { push, live, fares, rollouts } = await start();
  await push([change('old')]);
  const name = (await push([change('new')], { rollout: canary })) ?? '';
  await live(2);
  const tried = published().at(-1)?.revision ?? 0;
  fares('pi-1', name, { decisions: 100, requests: 100 }, { decisions: 20, requests: 20, denied: 20 });
  await clock.advance(1_000);
  const back = published().at(-1);
  t.ok(Number(back?.revision) > tried);
  t.equal(back?.rollout, undefined);
  t.same(await names(), ['old']);
  const [over] = await rollouts.list();
  t.match(over, { phase: 'rolled-back', reason: /denied rose from 0% \(0 of 100\) to 100% \(20 of 20\)/ });
  t.match(events.at(-1), ['rollout-rolled-back', /^policy-1: step 1/]);
  t.equal(await push([change('new')], { rollout: canary }), 'policy-2', 'the same may be tried again');
});

t.test('a restart of the agent loses nothing of what was counted', async t => {
  const { start, clock } = await stage(t);
  const { push, live, fares, rollouts } = await start();
  const name = (await push([change('new')], { rollout: canary })) ?? '';
  await live(2);
  fares('pi-1', name, { decisions: 500, requests: 500, denied: 1 }, { decisions: 12, requests: 12, denied: 12 });
  fares('pi-1', name, {}, { decisions: 8, requests: 8, denied: 8 }, 2);
  await clock.advance(1_000);
  t.match(await rollouts.list(), [{ reason: /from 0.2% \(1 of 500\) to 100% \(20 of 20\)/ }]);
});

t.test('a node that cannot use it ends it', async t => {
  const { start, clock } = await stage(t);
  const { push, says, rollouts } = await start();
  await push([change('new')], { rollout: canary });
  says('pi-1', { reason: 'an older one was refused', revision: 7 });
  says('pi-2', { reason: 'of another ring' });
  await clock.advance(1_000);
  t.match(rollouts.active, { name: 'policy-1' });
  says('pi-1', { reason: 'it cannot be compiled' });
  await clock.advance(1_000);
  t.match(await rollouts.list(), [{ phase: 'rolled-back', reason: 'pi-1 refused it: it cannot be compiled' }]);
});

t.test('that a node refused something older takes nothing away from what it has acknowledged', async t => {
  const { start, clock } = await stage(t);
  const { push, says, rollouts } = await start();
  const rollout = await push([change('new')], { rollout: canary });
  says('pi-1', { rollout });
  says('pi-1', { reason: 'an older one was refused', revision: 7 });
  await clock.advance(1_000);
  t.match(rollouts.active?.state, { stage: 'watching' });
});

t.test('a newer push of the same starts the steps again, with all that was under way', async t => {
  const { start, published, events } = await stage(t);
  const { push, live, rollouts } = await start();
  await push([change('a'), change('b')], { rollout: canary });
  await live(33);
  t.equal(rollouts.active?.state.step, 1);
  published();
  const second = await push([change('a', 'ALLOW')]);
  t.equal(second, 'policy-2', 'by the steps that it was going by');
  t.match(published().at(-1)?.rollout, {
    nodes: ['pi-1'],
    put: [
      { metadata: { name: 'a' }, spec: { action: 'ALLOW' } },
      { metadata: { name: 'b' }, spec: { action: 'DENY' } },
    ],
  });
  t.match(await rollouts.list(), [
    { name: 'policy-2', phase: 'running', step: 1 },
    { name: 'policy-1', phase: 'superseded', reason: 'by a push of ann' },
  ]);
  t.ok(events.some(([kind, message]) => kind === 'rollout-superseded' && message.startsWith('policy-1: ')));
});

t.test('a push to all at once overtakes what is under way of the same, and leaves others be', async t => {
  const { start, names } = await stage(t);
  const { push, rollouts } = await start();
  await push([change('a'), change('b')], { rollout: canary });
  t.equal(await push([change('other')]), undefined);
  t.match([rollouts.active?.name, await names()], ['policy-1', ['other']]);
  t.equal(await push([change('a', 'ALLOW')], { atOnce: true }), undefined);
  t.equal(rollouts.active, undefined);
  t.same(await names(), ['a', 'b', 'other']);
  t.match(await rollouts.list(), [{ phase: 'superseded' }]);
});

t.test('a push at once is not lost where the rollout of the same ends before it', async t => {
  const { start, names, store, published } = await stage(t);
  const { pushes, push, rollouts } = await start();
  await push([change('old')]);
  const name = (await push([change('a'), change('old', null)], { rollout: canary })) ?? '';
  const late = await pushes.prepare([change('a', 'ALLOW'), change('old', null)], { by: 'ann', atOnce: true });
  t.same(late.direct, []);
  await rollouts.command(name, 'abort', 'bob');
  published();
  await late.go();
  t.same(await names(), ['a']);
  t.match((await store.documents.list('AuthorizationPolicy'))[0]?.json, /ALLOW/);
  t.match(published(), [{ documents: [{ metadata: { name: 'a' } }] }]);
});

t.test('a push to some nodes first is refused where there are none of them', async t => {
  const { start } = await stage(t);
  const { push, rollouts } = await start();
  const nowhere = specOf([{ labels: { zone: 'nowhere' } }]);
  await t.rejects(push([change('a')], { rollout: nowhere }), { code: 'INVALID_INPUT', message: /zone=nowhere/ });
  t.equal(rollouts.active, undefined);
});

t.test('what is on its way already is pushed again by whom says another way', async t => {
  const { start, store, clock, names } = await stage(t);
  const { push, pushes, rollouts } = await start();
  const jobs = makeJobs({ store, clock, newId: () => 'a', sha256, onStopped: () => {}, nodes: () => [] });
  const artifacts = { check: async () => {}, remove: async () => {} };
  const parts = {
    store,
    jobs,
    artifacts,
    // jobs are replaced at once
    updates: { begin: async () => {}, forget: async () => {} },
    gate: new Gate(),
    clock,
    fleetTotal: () => ({ cpus: 4_000 }),
    onJobs: () => {},
    onRoles: async () => {},
    pushes,
  };
  const documents = makeDocuments(parts, { rootNamespace: 'istio-system', trustDomain: 'edge.example' });
  const tried = change('a');
  const sent = [JSON.parse(tried.json ?? '')];
  await push([tried], { rollout: canary });
  t.match(await documents.apply(sent, { by: 'ann' }), { results: [{ result: 'unchanged' }], rollout: undefined });
  t.equal(rollouts.active?.name, 'policy-1');
  t.match(await documents.apply(sent, { by: 'ann', rollout: canary }), { results: [{}], rollout: 'policy-2' });
  t.match(await documents.apply(sent, { by: 'ann', atOnce: true }), { results: [{ result: 'created' }] });
  t.equal(rollouts.active, undefined);
  t.same(await names(), ['a']);
});

t.test('a Rollout governs its namespace, and the one of the root namespace the others', async t => {
  const { start, store } = await stage(t);
  const { push, rollouts } = await start();
  const put = async (name: string, namespace: string, node: string) => {
    const document = {
      apiVersion: 'mesolite/v1',
      kind: 'Rollout',
      metadata: { name, namespace },
      spec: { steps: [{ nodes: [node] }] },
    };
    await store.documents.apply([{ kind: 'Rollout', namespace, name, json: JSON.stringify(document) }], 1);
  };
  await put('careful', 'shop', 'pi-2');
  t.equal(await push([change('x')]), undefined, 'nothing governs it');
  t.equal(await push([change('x', 'DENY', 'shop')]), 'policy-1');
  t.same(rollouts.active?.state.rings, [['pi-2']]);
  await put('all', 'istio-system', 'pi-3');
  t.equal(await push([change('y')]), 'policy-2');
  t.same(rollouts.active?.state.rings, [['pi-3']]);
  await t.rejects(push([change('y', 'ALLOW'), change('x', 'ALLOW', 'shop')]), {
    code: 'INVALID_INPUT',
    message: /goes by Rollout shop\/careful, others by Rollout istio-system\/all/,
  });
  t.equal(await push([change('z')], { atOnce: true }), undefined, 'unless an operator wants it at once');
});

t.test('operators pause, resume and abort, and it is known who', async t => {
  const { start, published, events } = await stage(t);
  const { push, live, rollouts } = await start();
  const name = (await push([change('new')], { rollout: canary })) ?? '';
  await live(5);
  t.match(await rollouts.command(name, 'pause', 'bob'), { phase: 'paused', reason: 'paused by bob' });
  await live(100);
  t.match(rollouts.active?.state, { step: 0, phase: 'paused' });
  await t.rejects(rollouts.command(name, 'pause', 'bob'), { code: 'CONFLICT' });
  t.match(await rollouts.command(name, 'resume', 'bob'), { phase: 'running' });
  published();
  t.match(await rollouts.command(name, 'abort', 'eve'), { phase: 'aborted', reason: 'aborted by eve' });
  t.equal(published().at(-1)?.rollout, undefined);
  await t.rejects(rollouts.command(name, 'resume', 'bob'), { code: 'CONFLICT', message: /is over: aborted/ });
  await t.rejects(rollouts.command('policy-9', 'abort', 'bob'), { code: 'NOT_FOUND' });
  t.same(
    events.slice(1).map(([kind]) => kind),
    ['rollout-paused', 'rollout-resumed', 'rollout-aborted'],
  );
});

t.test('what is paused does not go on by a push of something else', async t => {
  const { start, names } = await stage(t);
  const { push, rollouts } = await start();
  const name = (await push([change('doubtful')], { rollout: canary })) ?? '';
  await rollouts.command(name, 'pause', 'bob');
  await t.rejects(push([change('other')], { rollout: specOf([{ percent: 100 }]) }), {
    code: 'CONFLICT',
    message: /^rollout policy-1 is paused/,
  });
  t.equal(await push([change('other')], { atOnce: true }), undefined, 'it may pass by');
  t.match([rollouts.active?.state.phase, await names()], ['paused', ['other']]);
  t.equal(
    await push([change('doubtful', 'ALLOW')], { rollout: canary }),
    'policy-2',
    'a better one of the same takes over',
  );
});

t.test('who joins while it goes on gets what its ring has', async t => {
  const { start, nodes, published, clock } = await stage(t);
  const { push } = await start();
  nodes.push(fleetNode('pi-8', { labels: { zone: 'test' } }));
  await push([change('new')], { rollout: specOf([{ labels: { zone: 'test' } }]) });
  published();
  nodes.push(fleetNode('pi-9', { labels: { zone: 'test' } }));
  await clock.advance(1_000);
  t.match(published(), [{ rollout: { nodes: ['pi-8', 'pi-9'] } }]);
});

t.test('a master that starts again goes on where the one before was', async t => {
  const { start, published, names, clock } = await stage(t);
  const first = await start();
  await first.push([change('new')], { rollout: canary });
  await first.live(33);
  const { rings } = first.rollouts.active?.state ?? {};
  const before = published().at(-1);
  await first.stop();

  const second = await start();
  t.match(second.rollouts.active?.state, { phase: 'running', step: 1, rings });
  t.same(published().at(-1), before, 'the same is said under the same revision');
  await clock.advance(60_000);
  t.match(second.rollouts.active?.state, { stage: 'waiting' }, 'nobody has said anything to this one yet');
  await second.live(40);
  t.match(await second.rollouts.list(), [{ phase: 'succeeded' }]);
  t.same(await names(), ['new']);
});

t.test('what was written and not said before a crash is said by the next', async t => {
  const { start, store, published } = await stage(t);
  const first = await start();
  await first.push([change('new')], { rollout: canary });
  await first.stop();
  const revision = Number(published().at(-1)?.revision);
  const [stored] = await store.rollouts.list();
  if (stored === undefined) throw new Error('it is stored');
  const state = { ...stored.state, phase: 'rolled-back', reason: 'harm' } as const;
  await store.rollouts.end({ name: stored.name, state, at: 1, carryOut: [] });
  const second = await start();
  t.equal(second.rollouts.active, undefined);
  const back = published().at(-1);
  t.ok(Number(back?.revision) > revision);
  t.equal(back?.rollout, undefined);
});

t.test('what could not be published is published at the next look', async t => {
  const { start, words, published, clock } = await stage(t);
  const { push, rollouts } = await start();
  const name = (await push([change('new')], { rollout: canary })) ?? '';
  words.isUp = false;
  await t.rejects(rollouts.command(name, 'abort', 'bob'), { code: 'UNAVAILABLE' });
  words.isUp = true;
  published();
  await clock.advance(1_000);
  t.match(published(), [{ rollout: undefined }]);
});

t.test('with nobody to go to first it is stored at once', async t => {
  const { start, nodes, names } = await stage(t);
  const { push } = await start();
  nodes.splice(0);
  t.equal(await push([change('new')], { rollout: canary }), undefined);
  t.same(await names(), ['new']);
});
