import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { Mesh, serviceOf } from '../../../test/fixtures/proxy-node.ts';
import type { NodeOrder, NodeReport, WorkloadOrder } from './node.ts';

/** As an agent starts its proxy on a small board. */
const execArgv = ['--max-semi-space-size=1', '--optimize-for-size'];

function start(file: string): ChildProcess {
  return fork(new URL(file, import.meta.url), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], execArgv });
}

/** One node's proxy in a process of its own. */
class Node {
  meshPort = 0;
  outboundPort = 0;
  /** The newest policy that it has in force. */
  revision = 0;
  readonly rssMb: number[] = [];
  /** Since its start. */
  cpuMs = 0;
  readonly #child = start('./node.js');
  #measured: () => void = () => {};
  readonly #exited = once(this.#child, 'exit');

  async start(workload: WorkloadOrder, revision: number): Promise<void> {
    this.revision = revision;
    this.tell({ kind: 'start', workload, revision });
    await new Promise<void>(resolve => {
      this.#child.on('message', (report: NodeReport) => {
        if (report.kind === 'policy') this.revision = report.revision;
        else if (report.kind === 'memory') {
          this.rssMb.push(report.rssMb);
          this.cpuMs = report.cpuMs;
          this.#measured();
        } else {
          this.meshPort = report.meshPort;
          this.outboundPort = report.outboundPort;
          resolve();
        }
      });
    });
  }

  tell(order: NodeOrder): void {
    // one that is just ending hears nothing any more
    if (this.#child.connected) this.#child.send(order, () => {});
  }

  /** Asks for memory and CPU time, and waits for them. */
  async measure(): Promise<void> {
    const measured = new Promise<void>(resolve => {
      this.#measured = resolve;
    });
    this.tell({ kind: 'memory' });
    await measured;
  }

  /** Drains and ends. */
  async stop(): Promise<void> {
    this.tell({ kind: 'stop' });
    await this.#exited;
  }
}

/** A caller's node, two nodes that serve, and the application behind both: each a process. */
export class Fleet {
  readonly mesh = new Mesh();
  readonly caller = new Node();
  /** It stays. */
  readonly steady = new Node();
  /** It is drained and started again; undefined meanwhile. */
  restless: Node | undefined = new Node();
  /** The newest policy that was pushed. */
  revision = 0;
  readonly #application = start('./application.js');
  #appPort = 0;

  async start(): Promise<void> {
    const [{ port }] = await once(this.#application, 'message');
    this.#appPort = port;
    await this.caller.start({ ...this.#identity('client'), upstreams: ['web.default'] }, 0);
    await this.steady.start(this.#served(), 0);
    await this.restless?.start(this.#served(), 0);
    this.announce();
  }

  /** The oldest policy that some node still has in force. */
  get oldestRevision(): number {
    return Math.min(this.steady.revision, this.restless?.revision ?? this.revision);
  }

  push(): void {
    this.revision++;
    for (const node of [this.steady, this.restless]) node?.tell({ kind: 'policy', revision: this.revision });
  }

  /** Tells the caller's node which endpoints there are. */
  announce(which: 'both' | 'steady' = 'both'): void {
    const ports = [this.steady.meshPort];
    if (which === 'both' && this.restless !== undefined) ports.push(this.restless.meshPort);
    this.caller.tell({ kind: 'services', services: [serviceOf('web', ports)] });
  }

  /** Drains one node, told to its caller before or not, and starts it again at another port. */
  async restart(isAnnounced: boolean): Promise<void> {
    const old = this.restless;
    if (isAnnounced) this.announce('steady');
    await old?.stop();
    const next = new Node();
    await next.start(this.#served(), this.revision);
    this.restless = next;
    if (next.revision !== this.revision) next.tell({ kind: 'policy', revision: this.revision });
    this.announce();
  }

  measure(): void {
    for (const node of [this.caller, this.steady]) node.tell({ kind: 'memory' });
    this.restless?.tell({ kind: 'memory' });
  }

  async stop(): Promise<void> {
    await Promise.all([this.caller.stop(), this.steady.stop(), this.restless?.stop()]);
    this.#application.kill();
  }

  #served(): WorkloadOrder {
    return { ...this.#identity('web'), appPort: this.#appPort, upstreams: [] };
  }

  #identity(account: string) {
    const { keyPem, chainPem } = this.mesh.identity(account);
    return { account, keyPem, chainPem, rootPem: this.mesh.authority.authority.rootPem };
  }
}
