import t from 'tap';
import type { RolloutView } from '../../src/model/rollout.ts';
import { rolloutView as view } from '../fixtures/api-views.ts';
import { makeUser } from '../fixtures/cli-user.ts';

const over = (phase: RolloutView['phase'], reason: string | null = null) =>
  view({ phase, reason, step: 2, endedAt: 9, stageMs: 60_000 });

t.test('the newest is told by default, and another by its name', async t => {
  const { server, mesolite } = await makeUser(t);
  t.match(await mesolite('rollout status'), { code: 1, err: /there was no rollout yet/ });
  server.world.rollouts = [view(), { ...over('succeeded'), name: 'policy-1' }];
  t.same(await mesolite('rollout status'), {
    code: 0,
    out: `policy-2 running (pushed by ann)
  sets AuthorizationPolicy default/new
  removes AuthorizationPolicy default/old
  ▸ step 1, pi-1 for 60s: pi-1
    step 2, all nodes for 60s
  [█████░░░░░░░░░░░░░░░] 25%
  watched for 30s of 60s
  denied: 0 of 50 calls (0%); before: 1 of 200 calls (0.5%)
  failed: 0 of 50 calls (0%); before: 0 of 200 calls (0%)
`,
    err: '',
  });
  t.match(await mesolite('rollout status policy-1'), { code: 0, out: /^policy-1 succeeded .*✓ step 2/s });
  t.match(await mesolite('rollout status policy-9'), { code: 1, err: /there is no rollout policy-9/ });
  t.match(await mesolite('rollout status ../nodes'), {
    code: 1,
    err: 'mesolite: there is no rollout ../nodes: there are policy-2, policy-1\n',
  });
  t.same(JSON.parse((await mesolite('rollout status -o json')).out), view());
});

t.test('who applies by a rollout hears that it begins, and on whom', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.rollouts = [view()];
  const policy = {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: 'new' },
    spec: {},
  };
  const stdin = JSON.stringify(policy);
  t.same(await mesolite('apply -f - --canary pi-1', { stdin }), {
    code: 0,
    out: 'AuthorizationPolicy default/new begins by policy-2\n',
    err: 'policy-2 is on its step 1 of 2, on pi-1; follow it: mesolite rollout status policy-2 --watch\n',
  });
});

t.test('a script hears of a bad end by the exit code', async t => {
  const { server, mesolite } = await makeUser(t);
  for (const phase of ['rolled-back', 'aborted', 'superseded'] as const) {
    server.world.rollouts = [over(phase, 'denied rose')];
    const { code, out, err } = await mesolite('rollout status --watch');
    t.match([code, err], [1, `mesolite: rollout policy-2 ${phase}: denied rose\n`]);
    t.match(out, new RegExp(`^policy-2 ${phase}: denied rose\n`));
  }
});

t.test('whoever watches gets a line for each change, and the end', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.comingRollouts = [
    view({ stage: 'waiting', acknowledged: 0 }),
    view({ stageMs: 1_000 }),
    view({ stageMs: 2_000 }),
    view({ phase: 'paused', reason: 'paused by bob' }),
    view({ step: 2 }),
    over('succeeded'),
  ];
  const { code, out, err } = await mesolite('rollout status --watch');
  t.same([code, err], [0, '']);
  t.same(out.split('\n').slice(0, 6), [
    'policy-2 step 1/2 (pi-1): 0 of 1 nodes that are heard have it',
    'policy-2 step 1/2 (pi-1): watching 60s',
    'policy-2 paused by bob',
    'policy-2 step 2/2 (all nodes): watching 60s',
    'policy-2 succeeded',
    'policy-2 succeeded (pushed by ann)',
  ]);
});

t.test('a terminal gets a bar that is drawn anew, never wider than the terminal', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.comingRollouts = [
    view({ stage: 'waiting', acknowledged: 0 }),
    view(),
    over('rolled-back', 'x'.repeat(300)),
  ];
  const { code, err } = await mesolite('rollout status --watch', { columns: 60 });
  t.equal(code, 1);
  const drawn = (err.split('\n')[0] ?? '').split('\r\u001b[K').slice(1);
  t.match(drawn, [
    /^policy-2 \[░{20}\] 0% step 1\/2/,
    /^policy-2 \[█{5}░{15}\] 25% step 1\/2/,
    /^policy-2 rolled-back: x+…$/,
  ]);
  for (const line of drawn) t.ok([...line].length < 60, line);
});

t.test('rollouts are a table, newest first', async t => {
  const { server, mesolite } = await makeUser(t);
  t.same(await mesolite('rollout list'), { code: 0, out: '', err: 'no rollouts\n' });
  server.world.rollouts = [view(), { ...over('aborted', 'aborted by bob'), name: 'policy-1' }];
  const [head, first, second] = (await mesolite('rollout list')).out.split('\n');
  t.match(head, /^ROLLOUT +PHASE +STEP +NODES +BY +AGE +CHANGES +REASON$/);
  t.match(first, /^policy-2 +running +1\/2 +1 +ann .* default\/new, .* -$/);
  t.match(second, /^policy-1 +aborted +2\/2 .* aborted by bob$/);
});

t.test('the one under way is steered by default, and another by its name', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.rollouts = [view(), { ...over('succeeded'), name: 'policy-1' }];
  for (const [word, done] of [
    ['pause', 'paused'],
    ['resume', 'resumed'],
    ['abort', 'aborted'],
  ]) {
    t.same(await mesolite(`rollout ${word}`), { code: 0, out: `rollout policy-2 ${done}\n`, err: '' });
    t.equal(server.calls.at(-1)?.what, `POST /v1/rollouts/policy-2/${word}`);
  }
  await mesolite('rollout abort policy-1');
  t.equal(server.calls.at(-1)?.what, 'POST /v1/rollouts/policy-1/abort');
});
