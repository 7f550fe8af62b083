/**
 * Runs inside the system of a board, as root: installs the packages in `packages`, and has a master and an agent, as their units start them, run
 * a task, by Debian's Node and then by the one that the other package of the agent brings; purges all. Prints a row for each step; the exit code
 * is 1 when one does not hold.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import type { NodeView, TaskView } from '../../../src/model/api.ts';
import { eventually } from '../../quickstart/programs.ts';
import { runProgram, watchProgram } from '../debian/program.ts';
import { everything, expectSame } from '../debian/traces.ts';
import { say } from '../rows.ts';
import { makeStep } from '../steps.ts';

const patienceMs = 60_000;
const step = makeStep(true);
const shell = (script: string) => runProgram('sh', ['-c', script]);
/** Its output; asks again where the master did not answer in time (exit code 3), which an emulated one may not. */
const mesolite = (...args: string[]) =>
  eventually(`mesolite ${args[0]}`, patienceMs, async () => {
    const { code, output } = await watchProgram('mesolite', args);
    if (code === 3) return undefined;
    if (code !== 0) throw new Error(`mesolite ${args.join(' ')} failed (exit code ${code}): ${output.trim()}`);
    return output;
  });
const json = async (...args: string[]) => JSON.parse(await mesolite(...args, '-o', 'json'));

interface Service {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
}

/** As its unit says, with `more` options, until it says `word`. */
async function start(service: string, word: string, ...more: string[]): Promise<Service> {
  const unit = readFileSync(`/usr/lib/systemd/system/${service}.service`, 'utf8');
  const [, command = ''] = /^ExecStart=(.*) \$/m.exec(unit) ?? [];
  const settings = [...unit.matchAll(/^Environment=(.*)$/gm)].flatMap(([, words = '']) => words.split(' '));
  await shell(`install -d -o ${service} -g ${service} /run/${service}`);
  const user = [`--reuid=${service}`, `--regid=${service}`, '--clear-groups', 'env', ...settings];
  const child = spawn('setpriv', [...user, ...command.split(' '), ...more], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', text => {
    said += text;
  });
  const ended = new Promise(resolve => child.once('close', resolve));
  const died = ended.then(code => {
    throw new Error(`${service} has ended (exit code ${code}): ${said.slice(-1_000)}`);
  });
  died.catch(() => {});
  await Promise.race([died, eventually(`${service}: ${word}`, patienceMs, () => said.includes(word) || undefined)]);
  return { child, ended };
}

async function stop({ child, ended }: Service): Promise<void> {
  child.kill();
  await ended;
}

const startMaster = () =>
  start('mesolite-master', 'the master is up', '--host', '127.0.0.1', '--advertise', '127.0.0.1');
const startAgent = () => start('mesolite-agent', 'the link is up', '--address', '127.0.0.1');

async function joinNode(): Promise<void> {
  const data = '/var/lib/mesolite-master';
  const to = ['--server', 'https://127.0.0.1:8443', '--ca', `${data}/ca.pem`, '--token-file', `${data}/operator.token`];
  await mesolite('context', 'set', 'here', ...to);
  const { join }: { join: string } = await json('token', 'create', '--node', 'board', '--ttl', '1h');
  writeFileSync('/root/node.join', join, { mode: 0o600 });
  await shell('mesolite-join /root/node.join --node board');
}

/** Waits until the master has heard of it after now. */
async function readyNode(): Promise<NodeView> {
  const now = Date.now();
  return eventually('the node is ready', patienceMs, async () => {
    const { nodes }: { nodes: readonly NodeView[] } = await json('get', 'nodes');
    return nodes.find(({ state, lastSeen }) => state === 'ready' && lastSeen > now);
  });
}

async function runTask(name: string, node: string): Promise<void> {
  const spec = { type: 'batch', tasks: [{ name: 'speaks', command: [node, '-p', 'process.version'] }] };
  const job = { apiVersion: 'mesolite/v1', kind: 'Job', metadata: { name }, spec };
  writeFileSync('/root/job.json', JSON.stringify(job));
  await mesolite('apply', '-f', '/root/job.json');
  const task = await eventually('the task ends', patienceMs, async () => {
    const { tasks }: { tasks: readonly TaskView[] } = await json('get', 'tasks');
    return tasks.find(({ job, state }) => job === name && (state === 'TASK_FINISHED' || state === 'TASK_FAILED'));
  });
  const [output, version] = [(await mesolite('logs', task.id)).trim(), (await runProgram(node, ['-v'])).trim()];
  if (task.state !== 'TASK_FINISHED' || output !== version) throw new Error(`${task.state}: ${output}, not ${version}`);
}

/** From a system whose packages were unpacked without dpkg: it knows no files of theirs. */
const removeDebiansNode = String.raw`rm -f /usr/bin/node /usr/bin/nodejs /usr/lib/*/libnode.so*
sed -i '/^Package: \(nodejs\|libnode[0-9]*\)$/,/^$/d' /var/lib/dpkg/status`;
const ownNode = '/usr/lib/mesolite/node';

async function check(): Promise<void> {
  let [before, services] = ['', [] as Service[]];
  const restart = async () => {
    for (const service of services) await stop(service);
    services = [await startMaster(), await startAgent()];
  };
  await step('the packages of agent and master are installed, for all and for this processor', async () => {
    before = await shell(everything);
    await shell('dpkg --install packages/mesolite_*_all.deb packages/mesolite-master_*.deb');
    await mesolite('version');
  });
  await step('the master runs as its unit starts it, and mesolite-join makes the machine a node', async () => {
    services = [await startMaster()];
    await joinNode();
  });
  await step('the doctor finds nothing that would keep an agent from working', () =>
    shell('runuser -u mesolite-agent -- mesolite doctor --data /var/lib/mesolite-agent'),
  );
  await step('the agent runs as its unit starts it, and the node says what it is', async () => {
    services.unshift(await startAgent());
    const { inventory, total } = await readyNode();
    const isSound = inventory.arch === process.arch && inventory.cpuCount > 0 && (total.scalars.mem ?? 0) > 0;
    if (!isSound) throw new Error(JSON.stringify(inventory));
  });
  await step("a task has run, by Debian's Node", () => runTask('first', 'node'));
  await step("with Debian's Node gone the package that brings its own takes its place", async () => {
    await shell(removeDebiansNode);
    await shell('dpkg --install packages/mesolite_*+node*.deb');
    await mesolite('version');
  });
  await step('master and agent run by that one, and the node is the same', async () => {
    await restart();
    await readyNode();
  });
  await step('a task has run by that one', () => runTask('second', ownNode));
  await step('what is purged leaves nothing', async () => {
    for (const service of services) await stop(service);
    await shell('dpkg --purge mesolite-master mesolite');
    const gone = before.split('\n').filter(path => !/^\/usr\/(bin\/node(js)?|lib\/.*\/libnode\.so.*)$/.test(path));
    expectSame(gone.join('\n'), await shell(everything));
  });
}

try {
  await check();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
process.exit();
