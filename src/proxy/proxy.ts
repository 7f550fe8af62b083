import { Buffer } from 'node:buffer';
import { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { Cell } from '../base/cell.ts';
import { hourMs, minuteMs, secondMs } from '../base/clock.ts';
import { ratedLog } from '../base/rated-log.ts';
import { aborted, onAbort } from '../base/signal.ts';
import type { Peer } from '../model/identity.ts';
import type { ShadowCount } from '../model/shadow-count.ts';
import { newUsage } from '../traffic/breaker.ts';
import { defaultCluster } from '../traffic/cluster.ts';
import { AccessLog } from './access-log.ts';
import { addressOf } from './address.ts';
import { meshBounds, Shares, taskBounds } from './admission.ts';
import { Counters } from './counters.ts';
import { Deadlines } from './deadlines.ts';
import { Decisions } from './decisions.ts';
import { type LegParts, openLeg } from './egress/legs.ts';
import { type OutboundParts, OutboundPipeline } from './egress/outbound.ts';
import { Services } from './egress/services.ts';
import { TaskConnection } from './egress/task-connection.ts';
import { Http2Edges } from './http2/edges.ts';
import type { TargetForm } from './http2/request-text.ts';
import { Limits } from './limits.ts';
import { type GivenListeners, Listener, meshServer, outboundServer } from './listener.ts';
import type { NodeProxy, ProxyParts, ProxySettings, ProxySnapshot, RunningProxy } from './node-proxy.ts';
import { acceptOutside, type OutsideParts } from './outside.ts';
import { type InboundConnection, type InboundParts, InboundPipeline } from './pipeline.ts';
import { RequestIds } from './request-ids.ts';
import { Tallies } from './tallies.ts';
import { type TaskPort, TaskPorts } from './task-ports.ts';
import { acceptTcp, type TcpInboundParts } from './tcp-inbound.ts';
import { Tokens } from './tokens/tokens.ts';
import { Applications } from './upstream/applications.ts';
import type { PoolAddress } from './upstream/endpoints.ts';
import { MeshConnector } from './upstream/mesh-connector.ts';
import { plainConnector } from './upstream/plain-connector.ts';
import { ConnectionBudget, Pool, type PoolParts } from './upstream/pool.ts';
import type { ByteStream } from './wire/byte-stream.ts';
import { Downstream } from './wire/downstream.ts';
import type { ClientTimeouts, DownstreamParts } from './wire/downstream-parts.ts';
import type { Pipeline } from './wire/exchange.ts';
import { Head } from './wire/head.ts';
import { Mirrors } from './wire/mirror.ts';
import { muxProtocol } from './wire/mux/frame.ts';
import { Loans } from './wire/mux/loans.ts';
import { readBufferBytes, spareBuffersPerMb, WriteBuffers } from './wire/write-buffers.ts';
import { indexWorkloads, type LocalWorkload, servedByName, servedOnPort, type WorkloadIndex } from './workload.ts';

const loopback = '127.0.0.1';
/** For what is under way when the proxy ends: before a restart, and while another process serves already. */
const drainMs = 5 * secondMs;
const handedOverDrainMs = minuteMs;
/** Istio's default for TCP. */
const tcpIdleMs = hourMs;
/** Shorter than the 5 s after which Node's servers close an idle connection, and than the 60 s of our own mesh port. */
const applicationConnections = { ...defaultCluster.connections, idleMs: 4 * secondMs };
const clientTimeouts: ClientTimeouts = {
  headMs: 10 * secondMs,
  idleMs: minuteMs,
  drainIdleMs: 2 * secondMs,
  streamIdleMs: 5 * minuteMs,
  lingerMs: 2 * secondMs,
};

/** Joins the parts of a node's proxy. Policy, workloads and services may be swapped at any time; nothing is dropped by that. */
export function makeProxy(parts: ProxyParts, settings: ProxySettings): NodeProxy {
  return new JoinedProxy(parts, settings);
}

class JoinedProxy implements NodeProxy {
  readonly #parts: ProxyParts;
  readonly #settings: ProxySettings;
  readonly #deadlines: Deadlines;
  readonly #budget: ConnectionBudget;
  readonly #loans: Loans;
  readonly #counters = new Counters();
  readonly #tallies = new Tallies();
  readonly #index: Cell<WorkloadIndex>;
  readonly #services: Services;
  readonly #wire: DownstreamParts;
  readonly #http2: Http2Edges;
  readonly #inbound: InboundParts;
  readonly #tcpInbound: TcpInboundParts;
  readonly #outbound: OutboundParts;
  readonly #legs: LegParts;
  readonly #outside: OutsideParts;
  readonly #meshListener: Listener;
  readonly #outboundListener: Listener;
  readonly #localPorts: TaskPorts;
  readonly #publishedPorts: TaskPorts;
  /** Who is on the other side of each open connection of the mesh port. */
  readonly #callers = new Map<TLSSocket, Peer>();

  constructor(given: ProxyParts, settings: ProxySettings) {
    const parts = { ...given, log: ratedLog(given.log, () => given.clock.monotonic()) };
    const { clock, policy, workloads } = parts;
    const { bounds } = settings;
    const { maxConnections, maxUpstreamConnections } = bounds;
    this.#parts = parts;
    this.#settings = settings;
    this.#deadlines = new Deadlines(clock);
    this.#budget = new ConnectionBudget(bounds.maxUpstreamConnections);
    this.#index = new Cell(indexWorkloads(workloads.value));
    this.#loans = new Loans(bounds.buffersMb * 1024 * 1024);
    const readBuffer = Buffer.allocUnsafeSlow(readBufferBytes);
    const writeBuffers = new WriteBuffers(this.#deadlines, spareBuffersPerMb * bounds.buffersMb);
    const forwarding = { clock, random: parts.random, responseHead: new Head(), writeBuffers };
    this.#wire = {
      ...forwarding,
      deadlines: this.#deadlines,
      timeouts: clientTimeouts,
      requestHead: new Head(),
      mirrors: new Mirrors(forwarding, this.#deadlines),
    };
    this.#http2 = new Http2Edges(this.#wire);
    const applications = new Applications(({ host, port, protocol }) => {
      const isHttp2 = protocol === 'http2' || protocol === 'grpc';
      const connector = isHttp2 ? this.#http2.connector(host, port) : plainConnector(host, port, readBuffer);
      const bounds = { ...defaultCluster, connections: applicationConnections, used: newUsage() };
      return this.#makePool({ connector, load: { active: 0 }, bounds, ofOneSource: halfOf(maxUpstreamConnections) });
    });
    this.#services = this.#makeServices(readBuffer);
    const accessLog = new AccessLog({ clock, counters: this.#counters, onAccess: parts.onAccess });
    const shared = {
      accessLog,
      counters: this.#counters,
      requestIds: new RequestIds(),
      workloads: () => this.#index.value,
    };
    this.#inbound = {
      ...shared,
      applications,
      decisions: new Decisions(policy, this.#tallies, bounds.decisionCacheEntries),
      limits: new Limits(parts.limits, this.#counters, this.#tallies),
      tokens: new Tokens(parts.requestAuthentication, parts.time),
    };
    const { deadlines } = this.#wire;
    const tcp = { deadlines, writeBuffers, idleMs: tcpIdleMs, lingerMs: clientTimeouts.lingerMs };
    this.#tcpInbound = { inbound: this.#inbound, tcp, clock };
    this.#outbound = {
      ...shared,
      services: this.#services,
      routes: parts.routes,
      random: parts.random,
      taskShares: new Shares(halfOf(maxConnections)),
      onConnect: (stream, early, route) =>
        openLeg(this.#legs, { stream, early, listener: this.#outboundListener, asksInHttp: true }, route),
    };
    this.#legs = {
      outbound: this.#outbound,
      tcp,
      clock,
      serveHttp: ({ stream, listener, early }, pipelineOf) =>
        this.#servePlain(listener, stream, 'origin', pipelineOf, early),
    };
    const { unnamed } = settings;
    const onFailedHandshake = () => this.#counters.failedHandshakes++;
    this.#outside = {
      inbound: this.#inbound,
      deadlines,
      peerAuthentication: parts.peerAuthentication,
      identify: socket => this.#identify(socket),
      takeTcp: (...connection) => this.#takeTcp(...connection),
      servePlain: (...connection) => this.#servePlain(...connection),
      serveSecure: (...connection) => this.#serveSecure(...connection),
      onFailedHandshake,
    };
    const onConnection = this.#acceptMesh;
    const mesh = meshServer(
      { clock, workloads: shared.workloads, onFailedHandshake, onConnection },
      { unnamed, olderTls: settings.olderTls },
    );
    this.#meshListener = new Listener(mesh, meshBounds(maxConnections), parts.log);
    this.#outboundListener = new Listener(outboundServer(this.#acceptTask), taskBounds(maxConnections), parts.log);
    this.#localPorts = new TaskPorts(parts, taskBounds(maxConnections));
    this.#publishedPorts = new TaskPorts(parts, meshBounds(maxConnections));
  }

  async start(signal: AbortSignal, given?: GivenListeners, handedOver?: AbortSignal): Promise<RunningProxy> {
    const { meshHost, meshPort, outboundPort } = this.#settings;
    const { workloads } = this.#parts;
    const onSwap = (swapped: ReadonlyMap<string, LocalWorkload>) => void this.#onWorkloads(swapped);
    const unfollow = [workloads.watch(onSwap), this.#services.follow()];
    const taskPorts = this.#onWorkloads(workloads.value, given);
    const mesh = await this.#meshListener.listen({ host: meshHost, port: meshPort }, await given?.take('mesh'));
    let outbound: number;
    try {
      const address = { host: loopback, port: outboundPort };
      outbound = await this.#outboundListener.listen(address, await given?.take('outbound'));
    } catch (error) {
      await this.#meshListener.drain();
      throw error;
    }
    await taskPorts;
    const ended = handedOver === undefined ? signal : AbortSignal.any([signal, handedOver]);
    const stopped = aborted(ended).then(() => {
      for (const stop of unfollow) stop();
      return this.#stop(signal);
    });
    const servers = new Map([
      ['mesh', this.#meshListener.server],
      ['outbound', this.#outboundListener.server],
    ]);
    const socketOf = (name: string) =>
      servers.get(name) ?? this.#localPorts.serverOf(name) ?? this.#publishedPorts.serverOf(name);
    return { meshPort: mesh, outboundPort: outbound, socketOf, stopped };
  }

  recheck(): void {
    for (const [socket, peer] of this.#callers) if (!this.#parts.peers.mayStay(peer)) socket.destroy();
    this.#budget.recheck();
  }

  snapshot(): ProxySnapshot {
    return {
      inboundConnections: this.#meshListener.open + this.#publishedPorts.open,
      outboundConnections: this.#outboundListener.open + this.#localPorts.open,
      upstreamConnections: this.#budget.open,
      failedHandshakes: this.#counters.failedHandshakes,
      refusedRequests: this.#counters.refusedRequests,
      series: this.#counters.snapshot(),
      limits: this.#counters.limitSnapshot(),
      shadows: this.shadows(),
    };
  }

  shadows(): ShadowCount[] {
    const { limits, policy } = this.#parts;
    return this.#tallies.snapshot((kind, id) =>
      kind === 'RateLimit' ? limits.value.shadows.has(id) : policy.value.watched.has(id),
    );
  }

  /** There is less time for it from when `signal` aborts. */
  async #stop(signal: AbortSignal): Promise<void> {
    const listeners = [this.#meshListener, this.#outboundListener, this.#localPorts, this.#publishedPorts];
    const drained = Promise.all(listeners.map(listener => listener.drain()));
    this.#budget.close();
    const cancels: (() => void)[] = [];
    const cutOffIn = (delayMs: number) =>
      cancels.push(
        this.#parts.clock.after(delayMs, () => {
          for (const listener of listeners) listener.destroy();
        }),
      );
    cutOffIn(handedOverDrainMs);
    const forget = onAbort(signal, () => cutOffIn(drainMs));
    await drained;
    forget();
    for (const cancel of cancels) cancel();
    this.#services.close();
    this.#budget.close();
    this.#wire.writeBuffers.close();
  }

  /** Settles when the ports of the tasks are there, or were found to be taken. */
  async #onWorkloads(workloads: ReadonlyMap<string, LocalWorkload>, given?: GivenListeners): Promise<void> {
    this.#index.set(indexWorkloads(workloads));
    this.#services.keepOnly(workloads);
    const all = [...workloads.values()];
    await Promise.all([
      this.#localPorts.want(
        all.flatMap(workload => this.#localPortsOf(workload)),
        given,
      ),
      this.#publishedPorts.want(
        all.flatMap(workload => this.#publishedPortsOf(workload)),
        given,
      ),
    ]);
  }

  #localPortsOf({ task, localPorts }: LocalWorkload): TaskPort[] {
    return (localPorts ?? []).map(({ port, upstream }) => ({
      task,
      host: loopback,
      port,
      accept: (stream, listener) => {
        const route = { task, key: upstream, sourceIp: addressOf(stream.remoteAddress) };
        openLeg(this.#legs, { stream, listener, asksInHttp: false }, route);
      },
    }));
  }

  #publishedPortsOf({ task, published }: LocalWorkload): TaskPort[] {
    const host = this.#settings.publishHost;
    return (published ?? []).map(({ port }) => ({
      task,
      host,
      port,
      accept: (socket, listener) => acceptOutside(this.#outside, socket, listener, servedOnPort(task, port)),
    }));
  }

  /** Who is on the other side of a connection whose handshake ended in this turn; it is closed when nobody may be. */
  #identify(socket: TLSSocket): Peer | undefined {
    // TLS 1.2 lets a client ask for another handshake, and who it is was settled by this one
    if (this.#settings.olderTls !== undefined) socket.disableRenegotiation();
    const peer = this.#parts.peers.verify(socket, 'client');
    if (peer === undefined) {
      this.#counters.failedHandshakes++;
      socket.destroy();
      return undefined;
    }
    this.#callers.set(socket, peer);
    socket.once('close', () => this.#callers.delete(socket));
    return peer;
  }

  readonly #acceptMesh = (socket: TLSSocket, serverName: string): void => {
    this.#meshListener.established(socket);
    const peer = this.#identify(socket);
    if (peer === undefined) return;
    const sourceIp = addressOf(socket.remoteAddress);
    const localIp = addressOf(socket.localAddress);
    const find = servedByName(serverName);
    const connection = { find, serverName, peer, sourceIp, localIp, outside: undefined };
    const pipelineOf = () => new InboundPipeline(this.#inbound, connection);
    if (socket.alpnProtocol === muxProtocol) {
      this.#meshListener.serveMany({ deadlines: this.#deadlines, loans: this.#loans }, socket, stream => {
        if (!this.#takeTcp(stream, connection)) new Downstream(this.#wire, stream, pipelineOf(), () => {});
      });
    } else if (this.#takeTcp(socket, connection)) socket.allowHalfOpen = true;
    else this.#serveSecure(this.#meshListener, socket, pipelineOf);
  };

  #serveSecure(listener: Listener, socket: TLSSocket, pipelineOf: () => Pipeline): void {
    if (socket.alpnProtocol === 'h2') this.#http2.accept(listener, socket, 'origin', pipelineOf);
    else listener.serve(this.#wire, socket, pipelineOf());
  }

  /** False when the workload that the connection is for does not speak TCP. */
  #takeTcp(stream: ByteStream, connection: InboundConnection, early?: Buffer): boolean {
    const served = connection.find(this.#index.value);
    if (served?.application?.protocol !== 'tcp') return false;
    acceptTcp(this.#tcpInbound, { stream, early }, served, connection);
    return true;
  }

  readonly #acceptTask = (socket: Socket): void => {
    const sourceIp = addressOf(socket.remoteAddress);
    const connection = new TaskConnection(this.#outbound.taskShares, socket);
    const pipelineOf = () => new OutboundPipeline(this.#outbound, { sourceIp, connection });
    this.#servePlain(this.#outboundListener, socket, 'absolute', pipelineOf);
  };

  /** HTTP/1.1, or HTTP/2 with prior knowledge. */
  #servePlain(
    listener: Listener,
    stream: ByteStream,
    form: TargetForm,
    pipelineOf: () => Pipeline,
    early?: Buffer,
  ): void {
    const onHttp2 =
      stream instanceof Socket
        ? (read: Buffer) => this.#http2.accept(listener, stream, form, pipelineOf, read)
        : undefined;
    listener.serve(this.#wire, stream, pipelineOf(), { early, onHttp2 });
  }

  #makeServices(readBuffer: Buffer): Services {
    const { log, random, peers, services: documents, destinations } = this.#parts;
    const makePool = ({ caller, endpoint, protocol, spiffeId, ...host }: PoolAddress): Pool => {
      const { bounds } = host;
      const shared = { log, peers, deadlines: this.#deadlines, loans: this.#loans, readBuffer };
      const parts = { ...shared, tls: caller.tls, bounds };
      const connector = new MeshConnector(parts, { ...endpoint, protocol, spiffeId });
      return this.#makePool({ connector, caller: caller.task, ...host });
    };
    return new Services({ documents, destinations, deadlines: this.#deadlines, random, log, makePool });
  }

  #makePool(host: Omit<PoolParts, 'deadlines' | 'budget'>): Pool {
    return new Pool({ deadlines: this.#deadlines, budget: this.#budget, ...host });
  }
}

function halfOf(count: number): number {
  return Math.ceil(count / 2);
}
