/** A fleet over days: boards without a clock, certificates that are renewed, a master that is away for longer than they live. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Clock } from '../../src/base/clock.ts';
import { dayMs, hourMs } from '../../src/base/clock.ts';
import type { Lifetimes } from '../../src/identity/lifetimes.ts';
import { checkMasterConfig } from '../../src/master/config.ts';
import { eventListSchema } from '../../src/model/api.ts';
import {
  joinAgent,
  makeHome,
  masterConfig,
  proxyOf,
  runAgent,
  runMaster,
  type TestAgent,
  type TestMaster,
  untilReady,
  untilTasks,
} from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { callerProgram, callThrough, echoProgram } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';
import { ShiftedClock } from '../fixtures/shifted-clock.ts';

const ports = new FreePorts();
const url = 'http://echo.default.mesh/';
const on = (node: string) => ({ constraints: [{ attribute: 'node', operator: 'in', values: [node] }] });

interface World {
  readonly master: TestMaster;
  readonly near: TestAgent;
  readonly far: TestAgent;
  /** Where the task on `near` finds its proxy. */
  readonly proxy: string;
}

/** A master, and two nodes of which one calls the other. */
async function world(
  t: Test,
  clocks: { readonly master: Clock; readonly near: Clock; readonly far: Clock },
  lifetimes: Partial<Lifetimes> = {},
): Promise<World> {
  const home = makeHome(t);
  const config = checkMasterConfig({ ...(await masterConfig(join(home, 'master'), ports)), lifetimes });
  const master = await runMaster(t, config, clocks.master);
  const { api } = master;
  const joined = (node: 'near' | 'far') =>
    joinAgent(t, master, { dataDir: join(home, node), node, heartbeatMs: 1000 }, ports, clocks[node]);
  const [near, far] = await Promise.all([joined('near'), joined('far')]);
  await api.apply(
    job('echo', {
      ...on('far'),
      serviceAccount: 'echo',
      command: echoProgram,
      ports: [{ name: 'http' }],
      service: { port: 'http' },
      health: { type: 'http', port: 'http', interval: '1s' },
    }),
    job('caller', { ...on('near'), serviceAccount: 'caller', upstreams: ['echo'], command: callerProgram }),
  );
  await untilTasks(api, 'echo', 'TASK_RUNNING');
  const proxy = await proxyOf(api, 'caller');
  await untilServed(proxy);
  return { master, near, far, proxy };
}

const untilServed = (proxy: string) => until('the call is served', async () => (await statusOf(proxy)) === 200);

const statusOf = (proxy: string): Promise<number> =>
  callThrough(proxy, url).then(
    ({ status }) => status,
    () => 0,
  );

const issuedTo = (agent: TestAgent, account: string) =>
  agent.log.all('a certificate is in force').filter(({ fields }) => String(fields.spiffeId).endsWith(`/sa/${account}`));

t.test('a board that starts in 1970 joins, serves and calls, and does so again after a restart', async t => {
  const board = new ShiftedClock(-Date.now() + hourMs);
  const system = new ShiftedClock(0);
  const { near, proxy, master } = await world(t, { master: system, near: board, far: board });
  t.equal(near.log.all("the system's clock is wrong; the master's time counts").length, 1);
  await near.stop();
  const again = await runAgent(t, near.config, board);
  await untilServed(proxy);
  t.equal(again.log.all('a task was started').length, 0);
  await untilReady(master.api, 'near');
});

t.test('certificates are renewed at two thirds of their life, after a sleep too, without a restart', async t => {
  const clock = new ShiftedClock(-10 * dayMs);
  const { near, far, proxy } = await world(t, { master: clock, near: clock, far: clock });
  const before = [issuedTo(near, 'caller').length, issuedTo(far, 'echo').length];
  t.same(before, [1, 1]);
  clock.shiftMs += 17 * hourMs;
  await until('both are renewed', () => issuedTo(near, 'caller').length > 1 && issuedTo(far, 'echo').length > 1);
  t.equal(await statusOf(proxy), 200);
});

t.test(
  'a master that is away for longer than certificates live: the mesh goes on in its grace, then denies, then heals',
  async t => {
    const clock = new ShiftedClock(-20 * dayMs);
    const clocks = { master: clock, near: clock, far: clock };
    const { master, near, far, proxy } = await world(t, clocks, { nodeMs: 4 * dayMs });
    const restart = async (agent: TestAgent) => {
      await agent.stop();
      return runAgent(t, agent.config, clock);
    };
    await master.stop();

    clock.shiftMs += 5 * dayMs;
    // nothing of before is open any more: both sides show and judge certificates that expired
    const graced = { near: await restart(near), far: await restart(far) };
    await untilServed(proxy);

    clock.shiftMs += 3.5 * dayMs;
    const denied = { near: await restart(graced.near), far: await restart(graced.far) };
    t.not(await statusOf(proxy), 200, 'the certificates of the tasks expired 7.5 days ago');

    // those of the nodes expired 4.5 days ago
    const back = await runMaster(t, master.config, clock);
    await untilServed(proxy);
    await untilReady(back.api, 'near');
    await untilReady(back.api, 'far');
    for (const agent of [denied.near, denied.far]) t.notOk(agent.log.all('a task was started').length);
  },
);

t.test(
  'a board that does not know how long it was off renews what has expired, and only then is a node again',
  async t => {
    const master = new ShiftedClock(-20 * dayMs);
    const board = new ShiftedClock(-20 * dayMs);
    const clocks = { master, near: board, far: master };
    const lived = await world(t, clocks, { nodeMs: 4 * dayMs });
    await lived.near.stop();
    // its clock stood still meanwhile
    master.shiftMs += 5 * dayMs;
    const { api, log } = lived.master;
    const introduced = () => log.all('a node introduced itself', { node: 'near' }).length;
    const before = introduced();
    const back = await runAgent(t, lived.near.config, board);
    await until('the master knows it again', () => introduced() > before);
    t.equal(back.log.all('the certificate of this node has expired: it is let in to renew it').length, 1);
    t.ok(
      back.log.all('a certificate is in force').some(({ fields }) => String(fields.spiffeId).endsWith('/node/near')),
    );
    t.equal(introduced(), before + 1, 'it was heard when it had renewed, and not before');
    await untilServed(lived.proxy);
    t.equal(back.log.all('a task was started').length, 0);
    const events = await until('the operator is told', async () => {
      const { events } = await api.client.get('/v1/events?kind=certificate-expired', eventListSchema);
      return events.length > 0 && events;
    });
    t.match(events, [{ node: 'near', message: /with a certificate that has expired/ }]);
  },
);

t.test('a node that comes back later than its grace must join again, and keeps its tasks', async t => {
  const clock = new ShiftedClock(-20 * dayMs);
  const { master, near, proxy } = await world(t, { master: clock, near: clock, far: clock }, { nodeMs: 4 * dayMs });
  await master.stop();
  await near.stop();
  clock.shiftMs += 12 * dayMs;
  const back = await runMaster(t, master.config, clock);
  const late = await runAgent(t, near.config, clock);
  await until('it is refused', () =>
    late.log.all('the link is down').some(({ fields }) => fields.code === 'FORBIDDEN'),
  );
  t.not(await statusOf(proxy), 200);
  t.equal(back.log.all('a certificate was issued', { node: 'near' }).length, 0);
});

t.test('a clock that is set back an hour, or 20 years ahead, while the node is linked changes nothing', async t => {
  const board = new ShiftedClock(0);
  const { near, proxy } = await world(t, { master: new ShiftedClock(0), near: board, far: board });
  const corrections = () => near.log.all("the system's clock is wrong; the master's time counts").length;
  for (const [i, shiftMs] of [-hourMs, 20 * 365 * dayMs].entries()) {
    board.shiftMs = shiftMs;
    await until('the master has said what time it is', () => corrections() === i + 1);
    t.equal(await statusOf(proxy), 200);
  }
  t.equal(near.log.all('the link is down').length, 0);
});
