/**
 * Runs inside the system of a board, as root: builds the packages of this checkout there, installs them, and has a master and an agent from
 * them run a task. Prints a line of what held after each step; the exit code is 1 when one did not.
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import type { NodeView, TaskView } from '../../../src/model/api.ts';
import { eventually } from '../../quickstart/programs.ts';
import { runProgram, watchProgram } from '../debian/program.ts';
import { say } from '../rows.ts';

/** A processor that is computed takes its time. */
const patienceMs = 300_000;
const packages = '/root/packages';
const master = '/root/master';
const joinFile = '/root/node.join';

const mesolite = (...args: string[]) => runProgram('mesolite', args);
const json = async (...args: string[]) => JSON.parse(await mesolite(...args, '-o', 'json'));

function start(...args: string[]): void {
  spawn('mesolite', args, { stdio: 'inherit' }).once('exit', code => {
    throw new Error(`mesolite ${args[0]} has ended (exit code ${code})`);
  });
}

async function install(): Promise<void> {
  await runProgram(process.execPath, ['build/scripts/package/package.js', '--out', packages]);
  await runProgram('sh', ['-c', `dpkg --install ${packages}/mesolite_*_all.deb ${packages}/mesolite-master_*.deb`]);
  say(`installed: ${(await mesolite('version')).trim()}`);
}

async function startMaster(): Promise<void> {
  start('master', '--data', master, '--host', '127.0.0.1', '--advertise', '127.0.0.1');
  await eventually('the master answers', patienceMs, async () => {
    const to = ['--server', 'https://127.0.0.1:8443', '--ca', `${master}/ca.pem`];
    await watchProgram('mesolite', ['context', 'set', 'here', ...to, '--token-file', `${master}/operator.token`]);
    return (await watchProgram('mesolite', ['get', 'nodes'])).code === 0 ? true : undefined;
  });
  say('the master of its package answers');
}

async function join(): Promise<void> {
  const { join: text }: { join: string } = await json('token', 'create', '--node', 'board', '--ttl', '1h');
  writeFileSync(joinFile, text, { mode: 0o600 });
  await mesolite('doctor', '--data', '/root/node', '--join-file', joinFile);
  say('the doctor finds nothing that would keep an agent from working');
  await mesolite('join', '--data', '/root/node', '--join-file', joinFile, '--node', 'board');
  start('agent', '--data', '/root/node', '--node', 'board', '--address', '127.0.0.1');
  const node = await eventually('the node is ready', patienceMs, async () => {
    const { nodes }: { nodes: readonly NodeView[] } = await json('get', 'nodes');
    return nodes.find(({ state }) => state === 'ready');
  });
  say(`the node has joined: ${node.profile}, ${node.inventory.cpuCount} cores`);
}

async function runTask(): Promise<void> {
  const job = {
    apiVersion: 'mesolite/v1',
    kind: 'Job',
    metadata: { name: 'board' },
    spec: { type: 'batch', tasks: [{ name: 'speaks', command: ['node', '-p', 'process.arch'] }] },
  };
  writeFileSync('/root/job.json', JSON.stringify(job));
  await mesolite('apply', '-f', '/root/job.json');
  const task = await eventually('the task ends', patienceMs, async () => {
    const { tasks }: { tasks: readonly TaskView[] } = await json('get', 'tasks');
    return tasks.find(({ state }) => state === 'TASK_FINISHED' || state === 'TASK_FAILED');
  });
  const output = (await mesolite('logs', task.id)).trim();
  if (task.state !== 'TASK_FINISHED' || output !== process.arch) throw new Error(`${task.state}: ${output}`);
  say(`a task has run on ${output}`);
}

try {
  for (const step of [install, startMaster, join, runTask]) await step();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
process.exit();
