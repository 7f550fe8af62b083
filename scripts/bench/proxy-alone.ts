/**
 * One side of the proxy without an agent, for measuring: started from the environment (MESH_ROLE=inbound or outbound, LISTEN_PORT,
 * UPSTREAM_PORT, TLS_KEY, TLS_CERT, TLS_CA; MESH_FULL=1 adds a policy of 100 rules, a limit and a log to the file ACCESS_LOG;
 * MESH_LEG=http/1.1 keeps the calls of the outbound side apart).
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { createSecureContext, type TLSSocket } from 'node:tls';
import { Cell } from '../../src/base/cell.ts';
import { silentLog } from '../../src/base/log.ts';
import { aborted } from '../../src/base/signal.ts';
import { systemClock } from '../../src/device/clock.ts';
import { systemRandom } from '../../src/device/dice.ts';
import { presentedFingerprint } from '../../src/identity/contexts.ts';
import { readPeer } from '../../src/identity/peer.ts';
import type { AccessRecord } from '../../src/model/access.ts';
import { type AuthorizationPolicy, decodeDocument, type PolicyOf } from '../../src/model/document.ts';
import type { Peer } from '../../src/model/identity.ts';
import type { ServiceDocument } from '../../src/model/service.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { noPeerAuthentication } from '../../src/policy/peer-authentication.ts';
import { noRequestAuthentication } from '../../src/policy/request-authentication.ts';
import { makeProxy } from '../../src/proxy/proxy.ts';
import type { LocalWorkload } from '../../src/proxy/workload.ts';
import { compileDestinations, noDestinations } from '../../src/traffic/destinations.ts';
import { compileLimits, noLimits } from '../../src/traffic/limit.ts';
import { noRoutes } from '../../src/traffic/service-routes.ts';

const trustDomain = 'edge.local';
const serverName = '1.app.default.mesh';
const serverId = `spiffe://${trustDomain}/ns/default/sa/server`;
const flushBytes = 64 * 1024;
/** Longer than the bounds of an access record allow. */
const longestLine = 8 * 1024;
const flushMs = 200;
/** Known again by the fingerprint, as the agent knows them (agent/judged-chains.ts). */
const knownPeers = new Map<string, Peer>();
const maxKnownPeers = 256;

const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());
process.once('SIGINT', () => stop.abort());
try {
  await run(stop.signal);
} catch (error) {
  console.error(`proxy-alone: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}

async function run(signal: AbortSignal): Promise<void> {
  const files = { key: read('TLS_KEY'), cert: read('TLS_CERT'), ca: read('TLS_CA') };
  const role = wanted('MESH_ROLE');
  if (role !== 'inbound' && role !== 'outbound') throw new Error('MESH_ROLE must be inbound or outbound');
  const full = process.env.MESH_FULL === '1';
  const listenPort = Number(wanted('LISTEN_PORT'));
  const upstreamPort = Number(wanted('UPSTREAM_PORT'));
  const tls = new Cell(createSecureContext({ ...files, minVersion: 'TLSv1.3' }));
  const workload = role === 'inbound' ? serving(tls, upstreamPort) : calling(tls, listenPort);
  const settings = { trustDomain, rootNamespace: 'mesolite-system', meshDefault: 'allow', revision: 1 } as const;
  const proxy = makeProxy(
    {
      clock: systemClock,
      log: silentLog,
      random: systemRandom,
      peers: { verify: peerOf, mayResume: () => true, mayStay: () => true },
      policy: new Cell(compilePolicy({ ...settings, policies: full ? [hundredRules()] : [] })),
      workloads: new Cell<ReadonlyMap<string, LocalWorkload>>(new Map([[workload.task, workload]])),
      peerAuthentication: new Cell(noPeerAuthentication),
      requestAuthentication: new Cell(noRequestAuthentication),
      time: () => systemClock.now(),
      limits: new Cell(full ? compileLimits([amplePerCaller()], settings.rootNamespace) : noLimits),
      routes: new Cell(noRoutes),
      services: new Cell<ReadonlyMap<string, ServiceDocument>>(new Map([['app.default', serviceAt(upstreamPort)]])),
      destinations: new Cell(process.env.MESH_LEG === 'http/1.1' ? separateCalls() : noDestinations),
      onAccess: full ? openAccessLog(wanted('ACCESS_LOG'), signal) : () => {},
    },
    {
      meshPort: role === 'inbound' ? listenPort : 0,
      meshHost: '127.0.0.1',
      outboundPort: 0,
      bounds: { maxConnections: 20_000, maxUpstreamConnections: 1024, decisionCacheEntries: 10_000, buffersMb: 16 },
      unnamed: role === 'inbound' ? { serverName, ...files } : undefined,
    },
  );
  const running = await proxy.start(signal);
  await aborted(signal);
  await running.stopped;
}

function read(name: string): string {
  return readFileSync(wanted(name), 'utf8');
}

function serving(tls: LocalWorkload['tls'], port: number): LocalWorkload {
  return {
    task: 'app-1',
    identity: { namespace: 'default', serviceAccount: 'server', labels: { app: 'app' } },
    spiffeId: serverId,
    tls,
    endpoint: { service: 'app.default', serverName, host: '127.0.0.1', port, protocol: 'http' },
    callerSecret: '',
    upstreams: new Set(),
  };
}

/** Reaches the service on a port of its own, so that its requests look as those to the peers of the comparison. */
function calling(tls: LocalWorkload['tls'], port: number): LocalWorkload {
  return {
    task: 'caller',
    identity: { namespace: 'default', serviceAccount: 'client', labels: {} },
    spiffeId: `spiffe://${trustDomain}/ns/default/sa/client`,
    tls,
    callerSecret: '',
    upstreams: new Set(['app.default']),
    localPorts: [{ port, upstream: 'app.default' }],
  };
}

function serviceAt(port: number): ServiceDocument {
  const endpoint = { task: 'app-1', node: 'n1', address: '127.0.0.1', port, serverName, weight: 1, labelSet: 0 };
  return {
    name: 'app',
    namespace: 'default',
    protocol: 'http',
    spiffeId: serverId,
    endpoints: [endpoint],
    labelSets: [],
  };
}

/** Each call has a connection of its own, as to a peer that is not one of our agents. */
function separateCalls() {
  const spec = { host: '*', trafficPolicy: { connectionPool: { http: { h2UpgradePolicy: 'DO_NOT_UPGRADE' } } } };
  const metadata = { name: 'separate', namespace: 'default' };
  const document = decodeDocument(
    { apiVersion: 'networking.istio.io/v1', kind: 'DestinationRule', metadata, spec },
    '',
  );
  return compileDestinations(document.kind === 'DestinationRule' ? [document] : [], 'mesolite-system');
}

function wanted(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') throw new Error(`the variable ${name} is not set`);
  return value;
}

function peerOf(socket: TLSSocket): Peer | undefined {
  // OpenSSL's word by the system's clock: there is no master here that knows better
  const fingerprint = socket.authorized ? presentedFingerprint(socket) : undefined;
  if (fingerprint === undefined) return undefined;
  const known = knownPeers.get(fingerprint);
  if (known !== undefined) return known;
  const certificate = socket.getPeerX509Certificate();
  const peer = certificate && readPeer(certificate);
  if (peer !== undefined && knownPeers.size < maxKnownPeers) knownPeers.set(fingerprint, peer);
  return peer;
}

/** A limit that counts every request and refuses none. */
function amplePerCaller(): PolicyOf<'RateLimit'> {
  return {
    apiVersion: 'mesolite/v1',
    kind: 'RateLimit',
    metadata: { name: 'ample', namespace: 'default', labels: {}, annotations: {} },
    spec: {
      tokenBucket: { maxTokens: 1_000_000, tokensPerFill: 1_000_000, fillInterval: 50 },
      per: 'principal',
      enforce: true,
    },
  };
}

/** 99 rules that do not match the benchmark's requests, and one that does. */
function hundredRules(): AuthorizationPolicy {
  const others = Array.from({ length: 99 }, (_, i) => ({
    from: [{ source: { principals: [`${trustDomain}/ns/default/sa/other-${i}`] } }],
    to: [{ operation: { methods: ['GET'], paths: [`/api/v${i}/*`] } }],
  }));
  const client = {
    from: [{ source: { principals: [`${trustDomain}/ns/default/sa/client`] } }],
    to: [{ operation: { methods: ['GET', 'POST'], paths: ['/*'] } }],
  };
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: 'bench', namespace: 'default', labels: {}, annotations: {} },
    spec: { action: 'ALLOW', rules: [...others, client] },
  };
}

/** One line for each request, written in batches. */
function openAccessLog(path: string, signal: AbortSignal): (record: AccessRecord) => void {
  const file = openSync(path, 'a');
  const lines = Buffer.allocUnsafeSlow(flushBytes);
  let used = 0;
  let at = 0;
  let time = '';
  const flush = () => {
    if (used > 0) writeSync(file, lines, 0, used);
    used = 0;
  };
  const timer = setInterval(flush, flushMs);
  signal.addEventListener('abort', () => {
    clearInterval(timer);
    flush();
    closeSync(file);
  });
  return record => {
    if (used > flushBytes - longestLine) flush();
    // put into words once for all of a millisecond
    if (record.at !== at) time = new Date(record.at).toISOString();
    at = record.at;
    used += lines.write(line(record, time), used, 'latin1');
  };
}

/** About what the peers of the comparison write for each request. */
function line(record: AccessRecord, time: string): string {
  const request = `"${record.method} ${record.path}" ${record.status} ${record.flags} ${record.rule}`;
  const amounts = `${record.bytesReceived} ${record.bytesSent} ${Math.round(record.durationMs * 1000)}us`;
  return `${time} ${record.sourceIp} ${record.source} ${request} ${amounts} ${record.requestId}\n`;
}
