import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { NodeView } from '../../src/model/api.ts';
import {
  agentEnvironment,
  agentNodeFlags,
  eventually,
  lastWords,
  makeMesolite,
  type Role,
  startRole,
} from './programs.ts';

export interface FleetSettings {
  readonly dataDir: string;
  /** Added to every port. */
  readonly portOffset: number;
}

const nodes = ['node-a', 'node-b'] as const;
/** In a directory that a quickstart has made, and so may empty. */
const marker = 'writable';

/** One master and two agents on this machine, each a process of its own with its own directory and ports. */
export class Fleet {
  readonly dataDir: string;
  readonly mesolite;
  readonly #ports;
  #master: Role | undefined;
  readonly #agents: Role[] = [];
  /** Is the directory ours? Another quickstart's tasks are not to be ended. */
  #isPrepared = false;

  constructor({ dataDir, portOffset }: FleetSettings) {
    this.dataDir = dataDir;
    this.mesolite = makeMesolite(join(dataDir, 'config.yaml'));
    this.#ports = {
      api: 8443 + portOffset,
      mqtt: 8883 + portOffset,
      mesh: nodes.map((_, i) => 15_008 + i + portOffset),
      outbound: nodes.map((_, i) => 15_001 + i + portOffset),
      tasks: nodes.map((_, i) => 20_000 + 100 * i + portOffset),
    };
  }

  get apiPort(): number {
    return this.#ports.api;
  }

  get agents(): readonly Role[] {
    return this.#agents;
  }

  /** Begins with an empty directory; throws a sentence when it cannot be written or a port is taken. */
  async prepare(): Promise<void> {
    const { api, mqtt, mesh, outbound } = this.#ports;
    for (const port of [api, mqtt, ...mesh, ...outbound]) {
      if (await isFree(port)) continue;
      throw new Error(
        `port ${port} is in use: stop the program that listens there (another quickstart?), or move all ports with \`-- --port-offset 1000\``,
      );
    }
    if (list(this.dataDir).length > 0 && !existsSync(join(this.dataDir, marker))) {
      throw new Error(
        `${this.dataDir} holds files that no quickstart has made: give an empty directory with \`-- --data DIR\``,
      );
    }
    try {
      rmSync(this.dataDir, { recursive: true, force: true });
      mkdirSync(this.dataDir, { recursive: true, mode: 0o700 });
      writeFileSync(join(this.dataDir, marker), '');
      this.#isPrepared = true;
    } catch (error) {
      throw new Error(
        `cannot write in ${this.dataDir} (${error instanceof Error ? error.message : error}): run this where you may write`,
      );
    }
  }

  /** Starts the master, again over the same directory after a stop; returns when its API answers. */
  async startMaster(): Promise<void> {
    const { api, mqtt } = this.#ports;
    const directory = join(this.dataDir, 'master');
    const args = ['--host', '127.0.0.1', '--advertise', '127.0.0.1', '--api-port', `${api}`, '--mqtt-port', `${mqtt}`];
    this.#master = startRole('master', ['master', '--data', directory, ...args], join(this.dataDir, 'master.log'));
    const token = join(directory, 'operator.token');
    const server = `https://127.0.0.1:${api}`;
    await this.#whileAlive(this.#master, 'the master answers', async () => {
      const set = ['context', 'set', 'quickstart', '--server', server, '--ca', join(directory, 'ca.pem')];
      await this.mesolite.run(...set, '--token-file', token);
      await this.mesolite.run('context', 'use', 'quickstart');
      return (await this.mesolite.run('get', 'nodes')).code === 0 ? true : undefined;
    });
  }

  async stopMaster(): Promise<void> {
    await this.#master?.stop();
    this.#master = undefined;
  }

  /** Makes a join token for each node, starts its agent, and waits until all have introduced themselves. */
  async startAgents(): Promise<void> {
    for (const [i, node] of nodes.entries()) {
      const { join: joinString }: { join: string } = JSON.parse(
        await this.mesolite.text('token', 'create', '--node', node, '--ttl', '10m', '-o', 'json'),
      );
      const joinFile = join(this.dataDir, `${node}.join`);
      writeFileSync(joinFile, joinString, { mode: 0o600 });
      const { mesh, outbound, tasks } = this.#ports;
      const first = tasks[i] ?? 0;
      const ports = [
        '--mesh-port',
        `${mesh[i]}`,
        '--outbound-port',
        `${outbound[i]}`,
        '--ports',
        `${first}-${first + 99}`,
      ];
      const args = ['agent', '--node', node, '--data', this.#agentDir(node), '--address', '127.0.0.1', ...ports];
      const log = join(this.dataDir, `${node}.log`);
      this.#agents.push(startRole(node, [...args, '--join-file', joinFile], log, agentNodeFlags, agentEnvironment));
    }
    for (const agent of this.#agents) {
      await this.#whileAlive(agent, `${agent.name} introduces itself`, async () =>
        (await this.readyNodes()).find(node => node.node === agent.name),
      );
    }
  }

  async readyNodes(): Promise<NodeView[]> {
    return (await this.mesolite.list<NodeView>('nodes', 'get', 'nodes')).filter(node => node.state === 'ready');
  }

  /** The file that a task's standard output goes to: it can be read while no master runs. */
  outputFile(node: string, task: string): string {
    return join(this.#agentDir(node), 'tasks', task, 'stdout.log');
  }

  /** Ends tasks, agents and master, in this order; whatever could not be ended by its owner is killed. */
  async stop(): Promise<void> {
    for (const agent of this.#agents) await agent.stop();
    await this.stopMaster();
    this.killLeftovers();
  }

  /** Kills task processes of this fleet that nobody looks after any more; returns how many there were. */
  killLeftovers(): number {
    if (!this.#isPrepared) return 0;
    const leftovers = nodes.flatMap(node => taskProcesses(this.#agentDir(node)));
    for (const pid of leftovers) {
      try {
        process.kill(-pid, 'SIGKILL');
      } catch {
        // it has ended by itself
      }
    }
    return leftovers.length;
  }

  #agentDir(node: string): string {
    return join(this.dataDir, node);
  }

  async #whileAlive<T>(role: Role, what: string, ask: () => Promise<T | undefined>): Promise<T> {
    const died = role.ended.then(code => {
      throw new Error(`${role.name} did not start (exit code ${code}): ${lastWords(role)}`);
    });
    return Promise.race([eventually(what, 30_000, ask), died]);
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1' }, () => server.close(() => resolve(true)));
  });
}

/** The process groups of tasks below an agent's directory that live: their leader works in that directory. */
function taskProcesses(agentDir: string): number[] {
  const tasks = join(agentDir, 'tasks');
  return list(tasks).flatMap(task =>
    list(join(tasks, task))
      .filter(entry => entry.startsWith('run.'))
      .flatMap(run => {
        const pid = Number(read(join(tasks, task, run, 'pid')).split('\n')[0]);
        return pid > 1 && worksBelow(pid, agentDir) ? [pid] : [];
      }),
  );
}

function worksBelow(pid: number, directory: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/cwd`).startsWith(directory);
  } catch {
    return false;
  }
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
