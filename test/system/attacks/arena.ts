import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadIdentity, type NodeIdentity } from '../../../src/agent/node-identity.ts';
import { decode } from '../../../src/base/shape.ts';
import type { ApiClient } from '../../../src/cli/api-client.ts';
import { openFiles } from '../../../src/device/files.ts';
import type { TlsIdentity } from '../../../src/identity/contexts.ts';
import { parseJoinString, printJoinString } from '../../../src/identity/join-string.ts';
import { eventListSchema } from '../../../src/model/api.ts';
import type { EventKind, FleetEvent } from '../../../src/model/event.ts';
import { serviceDocumentSchema } from '../../../src/model/service.ts';
import { topics } from '../../../src/model/topics.ts';
import { endTasks, proxyOf, untilReady, untilTasks } from '../../fixtures/fleet.ts';
import { type FleetApi, job, openFleetApi, policyFor } from '../../fixtures/fleet-api.ts';
import { callerProgram, callThrough, echoProgram } from '../../fixtures/fleet-calls.ts';
import { FreePorts } from '../../fixtures/fleet-ports.ts';
import { until } from '../../fixtures/fleet-until.ts';
import { presume } from './attack.ts';
import { type Insider, openInsider } from './insider.ts';
import { mosquittoAt } from './mosquitto-broker.ts';
import { type Program, startProgram } from './programs.ts';
import { Relay } from './relay.ts';
import { dial, dialWebSocket, Eavesdropper, type HandClient } from './wire.ts';

const trustDomain = 'attacks.mesolite';
/** Those who see and say everything, as the owner of a broker can. */
const spies = ['eavesdropper', 'reader'] as const;
const url = 'http://hello.default.mesh';

/** An agent as a process of its own. */
export interface AgentProgram {
  readonly node: string;
  readonly dataDir: string;
  readonly meshPort: number;
  stop(): Promise<void>;
  /** Starts it again, perhaps with another environment. */
  start(env?: NodeJS.ProcessEnv): void;
}

/** A master and the agent `pi-1` behind a wire that can be led elsewhere, a service and its caller on it, and a policy between them. */
export class Arena {
  readonly directory: string;
  readonly trustDomain = trustDomain;
  /** Whose broker carries the messages. */
  readonly broker: 'embedded' | 'mosquitto';
  readonly #ports = new FreePorts();
  readonly #programs: { readonly agent: AgentProgram }[] = [];
  #master: Program | undefined;
  #parts: Parts | undefined;
  #proxy = '';
  #checks = 0;
  #names = 0;
  #isByWebSocket = false;
  #closeBroker = async () => {};

  constructor(directory: string, broker: Arena['broker'] = 'embedded') {
    this.directory = directory;
    this.broker = broker;
  }

  get api(): FleetApi {
    return this.#open.api;
  }

  get client(): ApiClient {
    return this.#open.client;
  }

  get insider(): Insider {
    return this.#open.insider;
  }

  get relay(): Relay {
    return this.#open.relay;
  }

  get mqttPort(): number {
    return this.#open.mqttPort;
  }

  get bundle() {
    return this.insider.authority.bundle;
  }

  get victim(): AgentProgram {
    return this.#open.victim;
  }

  /** Whoever owns the broker. */
  get eavesdropper(): Eavesdropper {
    return this.#open.eavesdropper;
  }

  get #open(): Parts {
    if (this.#parts === undefined) throw new Error('the arena is not open');
    return this.#parts;
  }

  async open(): Promise<void> {
    const ports = [await this.#ports.take(), await this.#ports.take(), await this.#ports.take()] as const;
    const [apiPort, mqttPort, otherPort] = ports;
    const isEmbedded = this.broker === 'embedded';
    const joinPort = isEmbedded ? mqttPort : otherPort;
    const masterDir = join(this.directory, 'master');
    const brokerFlags = isEmbedded
      ? ['--mqtt-port', `${mqttPort}`]
      : ['--broker', `mqtts://127.0.0.1:${mqttPort}`, '--broker-join-port', `${joinPort}`];
    const own = ['--api-port', `${apiPort}`, '--trust-domain', trustDomain, ...brokerFlags];
    const where = ['--data', masterDir, '--host', '127.0.0.1', '--advertise', '127.0.0.1'];
    this.#master = startProgram(['master', ...where, ...own], join(this.directory, 'master.log'));
    const api = await this.#untilUp(() => openFleetApi({ dataDir: masterDir, apiPort }));
    const { client } = api;
    if (!isEmbedded) {
      const home = join(this.directory, 'broker');
      this.#closeBroker = await mosquittoAt(home, { masterDir, apiPort, port: mqttPort, joinPort, spies });
    }
    const insider = await openInsider(masterDir, trustDomain, join(this.directory, 'insider'));
    const { bundle } = insider.authority;
    const [spy] = spies;
    const eavesdropper = await Eavesdropper.open(mqttPort, bundle, this.#spyOf(insider, spy), spy);
    const relay = new Relay(mqttPort);
    const relayPort = await relay.open();
    const opened = { api, client, insider, eavesdropper, relay, apiPort, mqttPort, joinPort };
    const string = await api.joinString();
    const victim = await this.startAgent('pi-1', { join: isEmbedded ? withPort(string, relayPort) : string, api });
    this.#parts = { ...opened, victim };
    await this.#startMesh();
    await this.checkWorks();
  }

  /** A connection to the broker by hand, with a certificate or as a stranger who joins. */
  dial(identity?: TlsIdentity): Promise<HandClient> {
    const { apiPort, mqttPort, joinPort } = this.#open;
    if (this.#isByWebSocket) return dialWebSocket(apiPort, this.bundle, identity);
    return dial(identity === undefined ? joinPort : mqttPort, this.bundle, identity);
  }

  /** The return code of the broker to this CONNECT; undefined when it closes without a word. */
  async loginCode(
    identity: TlsIdentity | undefined,
    clientId: string,
    fields: object = {},
  ): Promise<number | undefined> {
    const client = await this.dial(identity);
    const code = await client.login(clientId, fields);
    client.socket.destroy();
    return code;
  }

  /** The same at the port of nodes without any certificate; rejects where TLS fails. */
  async loginBare(): Promise<number | undefined> {
    const client = await dial(this.mqttPort, this.bundle);
    const code = await client.login('bare');
    client.socket.destroy();
    return code;
  }

  /** All that is dialled by hand meanwhile goes by WebSocket. */
  async byWebSocket<T>(task: () => Promise<T>): Promise<T> {
    this.#isByWebSocket = true;
    try {
      return await task();
    } finally {
      this.#isByWebSocket = false;
    }
  }

  /** A name that no node had before. */
  fresh(word: string): string {
    return `${word}-${++this.#names}`;
  }

  /** Our own broker lets the master's certificate do everything; another's owner gives rights to whom he likes. */
  #spyOf(insider: Insider, name: string): TlsIdentity {
    return this.broker === 'embedded' ? insider.broker() : insider.node(name);
  }

  /** Starts an agent as a process and waits until the fleet has it. */
  async startAgent(
    node: string,
    options: { join?: string; api?: FleetApi; env?: NodeJS.ProcessEnv } = {},
  ): Promise<AgentProgram> {
    const { api = this.api, env } = options;
    const agent = await this.makeAgent(node, join(this.directory, node), options.join ?? (await api.joinString()));
    agent.start(env);
    await untilReady(api, node);
    return agent;
  }

  /** An agent that is not started. */
  async makeAgent(node: string, dataDir: string, joinString: string): Promise<AgentProgram> {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    const joinFile = `${dataDir}.join`;
    writeFileSync(joinFile, joinString, { mode: 0o600 });
    const meshPort = await this.#ports.take();
    const numbers = ['--mesh-port', `${meshPort}`, '--outbound-port', `${await this.#ports.take()}`];
    const taskPort = await this.#ports.take();
    const where = ['--node', node, '--data', dataDir, '--address', '127.0.0.1', '--join-file', joinFile];
    const args = ['agent', ...where, ...numbers, '--ports', `${taskPort}-${taskPort + 1}`];
    await this.#ports.take();
    let program: Program | undefined;
    const agent: AgentProgram = {
      node,
      dataDir,
      meshPort,
      start: (env = {}) => {
        program = startProgram(args, `${dataDir}.log`, env);
      },
      stop: async () => program?.stop(),
    };
    this.#programs.push({ agent });
    return agent;
  }

  /** What a thief reads from a card: the identity that is on the disk of a node. */
  async identityOf({ dataDir }: AgentProgram): Promise<NodeIdentity> {
    const identity = await loadIdentity(await openFiles(dataDir));
    if (identity === undefined) throw new Error(`there is no identity in ${dataDir}`);
    return identity;
  }

  /** What a client that subscribes to these topics now is given. */
  async retained(documents: readonly string[]): Promise<readonly Buffer[]> {
    const { bundle } = this;
    const [, reader] = spies;
    const identity = this.#spyOf(this.insider, reader);
    const fresh = await Eavesdropper.open(this.mqttPort, bundle, identity, reader, documents);
    const all = await Promise.all(documents.map(topic => fresh.until(topic, heard => heard.topic === topic)));
    fresh.close();
    return all.map(({ payload }) => payload);
  }

  /** How a proxy asks for a task of `hello`, by SNI. */
  async serverNameOf(task: string): Promise<string> {
    const [wire = Buffer.of()] = await this.retained([topics.service('hello.default')]);
    const { body } = JSON.parse(wire.subarray(wire.indexOf(0x0a) + 1).toString());
    const { endpoints } = decode(serviceDocumentSchema, body, 'service');
    return endpoints.find(endpoint => endpoint.task === task)?.serverName ?? '';
  }

  async events(kind: EventKind): Promise<FleetEvent[]> {
    const { events } = await this.client.get(`/v1/events?limit=1000`, eventListSchema);
    return events.filter(event => event.kind === kind);
  }

  /** How often such a thing was told, so that one more can be waited for. */
  async countOf(kind: EventKind, text = ''): Promise<number> {
    const events = (await this.events(kind)).filter(
      ({ message, node }) => message.includes(text) || node?.includes(text),
    );
    return events.reduce((sum, { count }) => sum + count, 0);
  }

  /** Nothing is lost: a new task runs to its end, the old ones were not touched, what is allowed is answered and what is denied is not. */
  async checkWorks(): Promise<void> {
    const name = `check-${++this.#checks}`;
    const onVictim = { constraints: [{ attribute: 'node', operator: 'in', values: ['pi-1'] }] };
    await untilReady(this.api, 'pi-1');
    await this.api.apply(job(name, { type: 'batch', command: ['/bin/sh', '-c', 'exit 0'], ...onVictim }));
    await untilTasks(this.api, name, 'TASK_FINISHED');
    await this.api.remove('Job', name);
    for (const each of ['hello', 'visitor']) {
      const [task, ...others] = await untilTasks(this.api, each, 'TASK_RUNNING');
      presume(others.length === 0 && task?.restarts === 0, `the one task of ${each} has run all the time`);
    }
    await until('what is allowed is answered', async () => (await this.status('/')) === 200);
    presume((await this.status('/private')) === 403, 'the policy holds');
  }

  /** The status of a call from the visitor to the service. */
  async status(path: string): Promise<number> {
    return (await callThrough(this.#proxy, `${url}${path}`)).status;
  }

  async close(): Promise<void> {
    this.#parts?.eavesdropper.close();
    for (const { agent } of this.#programs) await agent.stop();
    for (const { agent } of this.#programs) await endTasks(agent.dataDir);
    await this.#master?.stop();
    await this.#closeBroker();
    await this.#parts?.relay.close();
  }

  async #untilUp(open: () => FleetApi): Promise<FleetApi> {
    return until('the master answers', async () => {
      try {
        const api = open();
        await api.nodes();
        return api;
      } catch {
        return undefined;
      }
    });
  }

  async #startMesh(): Promise<void> {
    const onVictim = { constraints: [{ attribute: 'node', operator: 'in', values: ['pi-1'] }] };
    const served = { ports: [{ name: 'http' }], service: { port: 'http' } };
    await this.api.apply(
      job('hello', { ...onVictim, serviceAccount: 'hello', command: echoProgram, ...served }),
      job('visitor', { ...onVictim, serviceAccount: 'visitor', upstreams: ['hello'], command: callerProgram }),
      policyFor('hello', 'no-private', {
        action: 'DENY',
        rules: [{ to: [{ operation: { paths: ['/private*'] } }] }],
      }),
    );
    await untilTasks(this.api, 'hello', 'TASK_RUNNING');
    this.#proxy = await proxyOf(this.api, 'visitor');
    await until('the policy holds', async () => (await this.status('/private')) === 403);
  }
}

interface Parts {
  readonly api: FleetApi;
  readonly client: ApiClient;
  readonly insider: Insider;
  readonly eavesdropper: Eavesdropper;
  readonly relay: Relay;
  readonly apiPort: number;
  readonly mqttPort: number;
  /** Where those knock who have no certificate yet. */
  readonly joinPort: number;
  readonly victim: AgentProgram;
}

/** The same join string by another port alone. */
export function withPort(join: string, port: number): string {
  const { wssPort: _, ...rest } = parseJoinString(join);
  return printJoinString({ ...rest, addresses: [{ host: '127.0.0.1', port }] });
}
