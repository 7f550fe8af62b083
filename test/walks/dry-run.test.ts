/** Policies that decide nothing, on live calls: from the operator to what is told of them. */
import { join } from 'node:path';
import t from 'tap';
import { startEchoAndCaller } from '../fixtures/echo-and-caller.ts';
import { joinAgent, makeHome, masterConfig, runMaster } from '../fixtures/fleet.ts';
import { policyFor } from '../fixtures/fleet-api.ts';
import { callThrough } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const master = await runMaster(t, await masterConfig(join(home, 'master'), ports));
await joinAgent(t, master, { dataDir: join(home, 'node'), node: 'node' }, ports);
const { api } = master;
const { proxy } = await startEchoAndCaller(api);
const call = async (path: string) => (await callThrough(proxy, `http://echo.default.mesh${path}`)).status;
await until('it is called', async () => (await call('/')) === 200);

const to = (path: string) => [{ to: [{ operation: { paths: [path] } }] }];
const dry = (name: string, spec: object) => {
  const policy = policyFor('echo', name, spec);
  return { ...policy, metadata: { name, annotations: { 'istio.io/dry-run': 'true' } } };
};
const viewOf = async (name: string) => (await api.policies()).find(policy => policy.name === name);

t.test('what they would do is counted, told of each call, and not done', async t => {
  await api.apply(
    dry('would-deny', { action: 'DENY', rules: to('/closed') }),
    policyFor('echo', 'watch', { action: 'AUDIT', rules: to('/secret') }),
    {
      apiVersion: 'mesolite/v1',
      kind: 'RateLimit',
      metadata: { name: 'would-limit' },
      spec: {
        selector: { matchLabels: { app: 'echo' } },
        tokenBucket: { maxTokens: 1, fillInterval: '1h' },
        enforce: false,
      },
    },
  );
  await until('they are in force', async () => (await api.policies()).every(({ enforcedOn }) => enforcedOn === 1));
  for (const path of ['/open', '/closed', '/secret', '/closed']) t.equal(await call(path), 200, path);
  const told = await until('the master has heard of it', async () => {
    const view = await viewOf('would-deny');
    return view?.shadow?.calls === 4 && view;
  });
  t.match(told, { action: 'DENY (dry run)', shadow: { calls: 4, denied: 2, allowed: 0 } });
  t.match(await viewOf('watch'), { action: 'AUDIT', shadow: { calls: 4, audited: 1 } });
  t.match(await viewOf('would-limit'), { action: /shadow/, shadow: { calls: 4, denied: 3 } });

  const records = await until('the records have come', async () => {
    const entries = await api.audit();
    const inbound = entries.map(({ record }) => record).filter(({ direction }) => direction === 'inbound');
    return inbound.filter(({ path }) => path === '/closed').length === 2 && inbound;
  });
  const of = (path: string) => records.find(record => record.path === path);
  t.match(of('/closed'), { verdict: 'allow', shadow: { verdict: 'deny', rule: 'default/would-deny#0' } });
  t.match(of('/secret'), { verdict: 'allow', audited: 'default/watch#0', flags: 'RL:shadow' });
  t.equal(of('/open')?.shadow, undefined);
  t.equal(of('/open')?.audited, undefined);
});

t.test('a changed policy is counted anew', async t => {
  await api.apply(dry('would-deny', { action: 'DENY', rules: to('/other') }));
  await until('it is in force', async () => (await viewOf('would-deny'))?.enforcedOn === 1);
  t.equal(await call('/closed'), 200);
  await until('its calls are told', async () => (await viewOf('would-deny'))?.shadow?.calls === 1);
  t.match(await viewOf('would-deny'), { shadow: { calls: 1, denied: 0 } });
  t.match(await viewOf('watch'), { shadow: { calls: 5 } }, 'the others go on');
});
