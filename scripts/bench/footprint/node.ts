/** A master, and one node whose agent runs one task: each a process as a user would start it. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TaskView } from '../../../src/model/api.ts';
import { isTerminal } from '../../../src/model/task.ts';
import {
  agentEnvironment,
  eventually,
  lastWords,
  makeMesolite,
  type Role,
  startRole,
} from '../../quickstart/programs.ts';
import type { LoadOptions } from '../proxy/load.ts';
import { freePort } from '../proxy/processes.ts';

/** For what starts on a machine that may be busy. */
const startMs = 60_000;

const service = `
apiVersion: mesolite/v1
kind: Job
metadata: { name: app }
spec:
  serviceAccount: app
  resources: { cpus: 0.1, mem: 128 }
  ports: [{ name: http }]
  service: { port: http }
  health: { type: http, port: http, path: / }
  command:
    - node
    - -e
    - >-
      require('node:http').createServer((_, response) => response.end('x'.repeat(100)))
      .listen(process.env.PORT, '127.0.0.1')
`;

const hasEnded = ({ state }: TaskView) => isTerminal(state);

export class Node {
  readonly #dir: string;
  readonly #nodeFlags: readonly string[];
  readonly #mesolite;
  #master: Role | undefined;
  #agent: Role | undefined;
  #meshPort = 0;
  #starts = 0;
  brokerPort = 0;

  constructor(dir: string, nodeFlags: readonly string[]) {
    this.#dir = dir;
    this.#nodeFlags = nodeFlags;
    this.#mesolite = makeMesolite(join(dir, 'config.yaml'));
  }

  get pid(): number {
    return this.#agent?.pid ?? 0;
  }

  /** Starts a master that has one job to place, and makes the file that the agent joins with. */
  async prepare(): Promise<void> {
    const [apiPort, brokerPort] = [await freePort(), await freePort()];
    this.brokerPort = brokerPort;
    this.#meshPort = await freePort();
    const data = join(this.#dir, 'master');
    const ports = ['--api-port', `${apiPort}`, '--mqtt-port', `${brokerPort}`];
    const args = ['master', '--data', data, '--host', '127.0.0.1', '--advertise', '127.0.0.1', ...ports];
    const master = startRole('master', args, join(this.#dir, 'master.log'));
    this.#master = master;
    await whileAlive(master, 'the master is up', () => saysAt(master, 'the master is up'));
    const files = ['--ca', join(data, 'ca.pem'), '--token-file', join(data, 'operator.token')];
    await this.#mesolite.text('context', 'set', 'bench', '--server', `https://127.0.0.1:${apiPort}`, ...files);
    await this.#mesolite.text('context', 'use', 'bench');
    const job = join(this.#dir, 'app.yaml');
    writeFileSync(job, service);
    await this.#mesolite.text('apply', '-f', job);
    const token = await this.#mesolite.text('token', 'create', '--node', 'pi-1', '--ttl', '1h');
    writeFileSync(join(this.#dir, 'join'), token, { mode: 0o600 });
  }

  /** Starts the agent; resolves to the milliseconds until it has joined, in later starts until its link is up again. */
  async start(): Promise<number> {
    const begunAt = Date.now();
    const wanted = this.#starts++ === 0 ? 'this node has joined' : 'the link is up';
    const [outboundPort, firstTask] = [await freePort(), await freePort()];
    const ports = ['--outbound-port', `${outboundPort}`, '--ports', `${firstTask}-${firstTask}`];
    const places = ['--data', join(this.#dir, 'agent'), '--join-file', join(this.#dir, 'join')];
    const args = ['--address', '127.0.0.1', '--mesh-port', `${this.#meshPort}`, ...ports, ...places];
    // a million requests would all be in its audit: not what is measured here
    const quiet = ['--audit-allowed', '0', '--node', 'pi-1'];
    const log = join(this.#dir, `agent-${this.#starts}.log`);
    const agent = startRole('agent', ['agent', ...args, ...quiet], log, this.#nodeFlags, agentEnvironment);
    this.#agent = agent;
    return (await whileAlive(agent, wanted, () => saysAt(agent, wanted))) - begunAt;
  }

  /** Resolves when its task serves. */
  async untilServing(): Promise<void> {
    await eventually('the task serves', startMs, async () => (await this.#task())?.ready === true || undefined);
  }

  /** How to call the task through the mesh port, as its own service account; with `idle` handshakes alone. */
  async load(more: Pick<LoadOptions, 'connections' | 'seconds' | 'mode'>): Promise<LoadOptions> {
    const task = (await this.#task())?.id ?? '';
    const [certificate = ''] = readdirSync(join(this.#dir, 'agent')).filter(name => /^certificate-[^~]*$/.test(name));
    const { keyPem, chainPem } = this.#kept(certificate);
    const [key, cert] = [join(this.#dir, 'caller.key'), join(this.#dir, 'caller.pem')];
    writeFileSync(key, keyPem ?? '', { mode: 0o600 });
    writeFileSync(cert, chainPem ?? '');
    return {
      port: this.#meshPort,
      tls: {
        key,
        cert,
        ca: join(this.#dir, 'master', 'ca.pem'),
        servername: `${task.slice(task.lastIndexOf('.') + 1)}.app.default.mesh`,
      },
      head: 'GET / HTTP/1.1\r\nHost: app.default.mesh\r\n\r\n',
      bodyBytes: 0,
      ...more,
    };
  }

  async stopAgent(): Promise<void> {
    await this.#agent?.stop();
  }

  /** Ends the task too. */
  async stop(): Promise<void> {
    if (this.#master !== undefined) {
      await this.#mesolite.run('delete', 'job', 'app');
      await eventually('the task has ended', startMs, async () => (await this.#tasks()).every(hasEnded) || undefined);
    }
    await this.stopAgent();
    await this.#master?.stop();
  }

  async #task(): Promise<TaskView | undefined> {
    return (await this.#tasks()).find(({ state }) => state === 'TASK_RUNNING');
  }

  #tasks(): Promise<TaskView[]> {
    return this.#mesolite.list('tasks', 'get', 'tasks');
  }

  /** What the agent has written into one of its files, behind the line with the checksum. */
  #kept(name: string): Readonly<Record<string, string>> {
    const text = readFileSync(join(this.#dir, 'agent', name), 'utf8');
    return JSON.parse(text.slice(text.indexOf('\n')));
  }
}

/** When a role has said so in its log, in milliseconds since 1970. */
function saysAt({ logFile }: Role, sentence: string): number | undefined {
  const line = readFileSync(logFile, 'utf8')
    .split('\n')
    .find(line => line.includes(`"${sentence}"`));
  return line === undefined ? undefined : Date.parse(/"time":"([^"]+)"/.exec(line)?.[1] ?? '');
}

function whileAlive<T>(role: Role, what: string, ask: () => T | undefined): Promise<T> {
  const died = role.ended.then(code => {
    throw new Error(`${role.name} did not start (exit code ${code}): ${lastWords(role)}`);
  });
  return Promise.race([eventually(what, startMs, ask), died]);
}
