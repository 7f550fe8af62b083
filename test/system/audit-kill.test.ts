/** Agent and master are killed at random points, and the link is cut, while calls go on: what is lost of the audit is shown as a gap. */
import { join } from 'node:path';
import t from 'tap';
import { seededRandom } from '../../src/base/random.ts';
import { auditListSchema } from '../../src/model/api.ts';
import { runOf } from '../../src/model/audit-chain.ts';
import { auditChainPageSchema } from '../../src/model/audit-item.ts';
import { startAnsweringMaster } from '../fixtures/answering-master.ts';
import { agentConfig, makeHome, masterConfig, untilReady } from '../fixtures/fleet.ts';
import { callThrough } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { mesolite, type RoleProcess, startAgentProcess } from '../fixtures/fleet-process.ts';
import { Relay } from '../fixtures/fleet-relay.ts';
import { until } from '../fixtures/fleet-until.ts';

// `npm run check:audit` asks for more
const rounds = Number(process.env.MESOLITE_AUDIT_ROUNDS ?? 4);
const seed = Number(process.env.MESOLITE_AUDIT_SEED ?? 7_041);
const random = seededRandom(seed);
const home = makeHome(t);
const ports = new FreePorts();
const settings = await masterConfig(join(home, 'master'), ports);

const startMaster = () => startAnsweringMaster(t, settings);

let master = await startMaster();
const relay = await Relay.open(t, settings.mqttPort);
const config = await agentConfig(
  t,
  { dataDir: join(home, 'node'), node: 'node', join: relay.joinString(await master.api.joinString()) },
  ports,
);

/** Answered calls, by the start of the agent that answered: `/<start>/<call>`, where the first start is 1. */
const answered = new Set<string>();
/** What the master was seen to have. */
const seen = new Set<string>();
let start = 0;
let calls = 0;

async function startAgent(): Promise<RoleProcess> {
  const process = startAgentProcess(t, config);
  start++;
  await until('the agent answers', async () => {
    if (process.output.includes('mesolite: ')) throw new Error(process.output);
    return call().catch(() => false);
  });
  return process;
}

/** Nobody may call by the outbound proxy without a credential: each call is denied, and in the audit. */
async function call(): Promise<true> {
  const path = `/${start}/${++calls}`;
  await callThrough(`http://127.0.0.1:${config.outboundPort}`, `http://nobody.default.mesh${path}`);
  answered.add(path);
  return true;
}

async function callSome(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await call().catch(() => {});
}

async function look(): Promise<void> {
  const { entries } = await master.api.client.get('/v1/audit?limit=1000', auditListSchema);
  for (const entry of entries) if (entry.kind === 'record') seen.add(entry.record.path);
}

/** Ends when a moment that the dice choose has come, whatever goes on meanwhile. */
async function sometime(): Promise<void> {
  const turns = Math.floor(random() * 400);
  for (let i = 0; i < turns; i++) await new Promise(resolve => setImmediate(resolve));
}

let agent = await startAgent();
await untilReady(master.api, 'node');
t.comment(`seed ${seed}, ${rounds} rounds`);
for (let round = 0; round < rounds; round++) {
  await callSome(5 + Math.floor(random() * 40));
  if (random() < 0.5) await look();
  // each kind comes in every three rounds, in an order of chance at first
  const kind = (round + Math.floor(seed % 3)) % 3;
  const going = callSome(10);
  await sometime();
  if (kind === 0) {
    await agent.kill();
    await going;
    agent = await startAgent();
  } else if (kind === 1) {
    await look();
    await master.process.kill();
    await going;
    await callSome(20);
    master = await startMaster();
  } else {
    relay.silence();
    await going;
    await callSome(20);
    if (random() < 0.5) {
      await agent.kill();
      agent = await startAgent();
    }
    relay.cut();
    relay.resume();
  }
}

t.test('every answered call is in the audit, or behind a gap of its start of the agent', async t => {
  await call();
  const last = `/${start}/${calls}`;
  await until('the last call is in the audit', async () =>
    (await master.api.audit()).some(({ record }) => record.path === last),
  );
  const paths = new Map<string, number>();
  /** Starts of the agent of which something may be missing. */
  const gaps = new Set<number>();
  for (let after: number | undefined; ; ) {
    const query = after === undefined ? '' : `&after=${after}`;
    const { items, next } = await master.api.client.get(`/v1/audit/chain?limit=1000${query}`, auditChainPageSchema);
    for (const item of items) {
      if (item.kind !== 'record') continue;
      const { path, mark, first } = item.record;
      if (typeof path === 'string') paths.set(path, (paths.get(path) ?? 0) + 1);
      if (mark === 'gap' && typeof first === 'number') gaps.add(runOf(first));
    }
    if (next === null) break;
    after = next;
  }
  const lost = [...answered].filter(path => !paths.has(path));
  t.comment(`${answered.size} calls answered by ${start} starts of the agent, ${lost.length} behind ${gaps.size} gaps`);
  for (const path of lost) t.ok(gaps.has(Number(path.split('/')[1])), `${path} is lost, and a gap says so`);
  t.same(
    [...seen].filter(path => !paths.has(path)),
    [],
    'what the master once had it still has',
  );
  t.same(
    [...paths].filter(([, count]) => count > 1),
    [],
    'no record is there twice',
  );
  t.equal(gaps.size, start - 1, 'each killed agent has left a gap');
  t.notOk(gaps.has(start), 'and the one that lives has not');
});

t.test('the audit verifies, as the master has it and as an export', async t => {
  const env = { MESOLITE_CONFIG: join(home, 'config.yaml') };
  const server = `https://127.0.0.1:${settings.apiPort}`;
  const files = ['--ca', join(settings.dataDir, 'ca.pem'), '--token-file', join(settings.dataDir, 'operator.token')];
  t.equal((await mesolite(['context', 'set', 'here', '--server', server, ...files], env)).code, 0);
  const verified = await mesolite(['audit', 'verify'], env);
  t.match(verified, { code: 0, stdout: /^node +\d+ +\d+ +1\.0 /m }, verified.stdout + verified.stderr);
});
