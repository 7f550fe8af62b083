/** An agent process hands over to the next one while its tasks are called: nobody notices. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { startEchoAndCaller, waitingEcho } from '../fixtures/echo-and-caller.ts';
import { agentConfig, lives, makeHome, masterConfig, runMaster, untilReady } from '../fixtures/fleet.ts';
import { callThrough } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { startAgentProcess } from '../fixtures/fleet-process.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const { api } = await runMaster(t, await masterConfig(join(home, 'master'), ports));
const settings = {
  dataDir: join(home, 'node'),
  node: 'node',
  join: await api.joinString(),
  accessLog: { file: join(home, 'access.log'), format: 'json', sample: 1, perSecond: 1_000 },
} as const;
const agent = startAgentProcess(t, await agentConfig(t, settings, ports));
await untilReady(api, 'node');

const published = await ports.take();
const go = join(home, 'go');
const { proxy, first } = await startEchoAndCaller(api, waitingEcho(go, published));
const url = 'http://echo.default.mesh/';

/** The processes that are the agent of this test. */
function agents(): number[] {
  return readdirSync('/proc')
    .filter(
      name => /^\d+$/.test(name) && lives(Number(name)) && commandOf(name).includes(`--data\0${settings.dataDir}\0`),
    )
    .map(Number);
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}

t.teardown(() => {
  for (const pid of agents()) process.kill(pid, 'SIGKILL');
});

const boot = async () => (await api.nodes())[0]?.boot ?? 0;

/** Asks for a handover and waits until the next process is known to the master; returns its pid. */
async function handOver(from: number): Promise<number> {
  const before = await boot();
  process.kill(from, 'SIGUSR2');
  await until('the next agent is known to the master', async () => (await boot()) > before);
  return until('it is there', () => agents().find(pid => pid !== from));
}

t.test('three times in a row under calls: none fails, and the task goes on', async t => {
  const failures: string[] = [];
  const calling = new AbortController();
  const calls = (async () => {
    for (let count = 0; ; count++) {
      if (calling.signal.aborted) return count;
      const outside = await fetch(`http://127.0.0.1:${published}/`, { headers: { connection: 'close' } })
        .then(response => response.text())
        .catch((error: Error) => `from outside: ${error.message}`);
      if (outside !== first) failures.push(outside);
      // each with a connection of its own, so that somebody has to accept it
      const answer = await callThrough(proxy, url).catch((error: Error) => ({ status: 0, text: error.message }));
      if (answer.status !== 200 || answer.text !== first) failures.push(`${answer.status} ${answer.text}`);
    }
  })();
  let pid = agent.pid;
  for (let round = 0; round < 3; round++) {
    const next = await handOver(pid);
    const last = pid;
    await until('the one before has ended', () => !lives(last));
    t.same(agents(), [next]);
    pid = next;
  }
  calling.abort();
  t.ok((await calls) > 3);
  t.same(failures, []);
  t.equal((await api.tasks('echo'))[0]?.restarts, 0);
});

t.test('a request that is under way is finished by the process that took it', async t => {
  const [pid = 0] = agents();
  const slow = callThrough(proxy, `${url}slow`);
  await until('it has arrived', async () =>
    (await api.output((await api.tasks('echo'))[0]?.id ?? '')).includes('slow'),
  );
  await handOver(pid);
  t.ok(lives(pid), 'the old one waits for it');
  writeFileSync(go, '');
  t.match(await slow, { status: 200, text: first });
  await until('the old one has ended', () => !lives(pid));
  const isSlow = ({ path, status }: { readonly path: string; readonly status: number }) =>
    path === '/slow' && status === 200;
  await until('it is among the audit records, going out and coming in', async () => {
    const entries = await api.audit();
    return entries.filter(({ record }) => isSlow(record)).length === 2;
  });
  const lines = readFileSync(settings.accessLog.file, 'utf8').trim().split('\n');
  t.equal(
    lines.map(line => JSON.parse(line)).filter(isSlow).length,
    2,
    'the old one wrote them to the access log, too',
  );
});
