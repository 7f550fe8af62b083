import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Clock } from '../../../src/base/clock.ts';
import { decodeDocument, isPolicyDocument, type PolicyDocument } from '../../../src/model/document.ts';
import type { ServiceDocument } from '../../../src/model/service.ts';
import { parseYaml } from '../../../src/model/yaml-text.ts';
import type { LocalWorkload } from '../../../src/proxy/workload.ts';
import { compileDestinations } from '../../../src/traffic/destinations.ts';
import { compileRegex } from '../../../src/traffic/regex.ts';
import { checkVirtualService } from '../../../src/traffic/route-check.ts';
import { compileRoutes } from '../../../src/traffic/service-routes.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';
import { corpusMissing } from '../../fixtures/istio-corpus.ts';
import { Mesh, RawClient, serviceOf, startNode } from '../../fixtures/proxy-node.ts';

// Istio's own Bookinfo files, as its users have them, through two real proxies.

const mesh = new Mesh();
const credential = `Proxy-Authorization: Basic ${Buffer.from('productpage-1:secret-of-productpage').toString('base64')}\r\n`;

function documentsOf(...files: readonly string[]): PolicyDocument[] {
  return files.flatMap(file => {
    const text = readFileSync(join('..', 'shared/corpus/istio/bookinfo', file), 'utf8');
    return parseYaml(text, file).flatMap(({ value, what }) => {
      const document = decodeDocument(value, what);
      return isPolicyDocument(document) ? [document] : [];
    });
  });
}

/** Says its version. */
async function version(t: Test, name: string): Promise<number> {
  const server = createServer((_, response) => response.setHeader('content-length', name.length).end(name));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.closeAllConnections());
  t.teardown(() => server.close());
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** One service in three versions on one node, and the caller with the policies of these files on another. */
async function bookinfo(t: Test, account: string, files: readonly string[], clock?: Clock) {
  const names = ['v1', 'v2', 'v3'];
  const workloads: LocalWorkload[] = [];
  for (const name of names) {
    const workload = mesh.workload(account, { appPort: await version(t, name) });
    const endpoint = workload.endpoint && { ...workload.endpoint, serverName: `${name}.${account}.default.mesh` };
    workloads.push({ ...workload, task: `${account}-${name}`, endpoint });
  }
  const node = await startNode(t, { workloads });
  const plain = serviceOf(
    account,
    names.map(() => node.running.meshPort),
  );
  const service: ServiceDocument = {
    ...plain,
    endpoints: plain.endpoints.map((endpoint, i) => ({
      ...endpoint,
      serverName: `${names[i]}.${account}.default.mesh`,
      labelSet: i,
    })),
    labelSets: names.map(version => ({ version })),
  };
  const documents = documentsOf(...files);
  const of = <K extends PolicyDocument['kind']>(kind: K) =>
    documents.filter((each): each is PolicyDocument & { readonly kind: K } => each.kind === kind);
  const caller = await startNode(t, {
    ...(clock !== undefined && { clock }),
    workloads: [mesh.workload('productpage', { upstreams: [`${account}.default`] })],
    services: [service],
    routes: compileRoutes(of('VirtualService'), compileRegex),
  });
  caller.destinations.set(compileDestinations(of('DestinationRule'), 'istio-system'));
  const request = (lines = '') => `GET http://${account}:9080/0 HTTP/1.1\r\nHost: x\r\n${credential}${lines}\r\n`;
  return { caller, request, client: () => RawClient.plain(t, caller.running.outboundPort) };
}

const versionOf = (answer: string) => answer.slice(-2);

t.test('all files are taken as they are, without a complaint', { skip: corpusMissing }, async t => {
  const files = [
    'fault-injection-details-v1.yaml',
    'virtual-service-ratings-test-delay.yaml',
    'virtual-service-reviews-80-20.yaml',
    'virtual-service-reviews-jason-v2-v3.yaml',
  ];
  for (const document of documentsOf(...files)) {
    if (document.kind === 'VirtualService') t.same(checkVirtualService(document, compileRegex).errors, []);
  }
});

t.test('80 of 100 requests go to v1 and 20 to v2', { skip: corpusMissing }, async t => {
  const files = ['virtual-service-reviews-80-20.yaml', 'destination-rule-reviews.yaml'];
  const { client, request } = await bookinfo(t, 'reviews', files);
  const runs = 10_000;
  const clients = 20;
  const batch = 50;
  const drawn = new Map<string, number>();
  await Promise.all(
    Array.from({ length: clients }, async () => {
      const connection = await client();
      for (let sent = 0; sent < runs / clients; sent += batch) {
        connection.received = '';
        connection.write(request().repeat(batch));
        for (const name of await versionsIn(connection, batch)) drawn.set(name, (drawn.get(name) ?? 0) + 1);
      }
    }),
  );
  const first = drawn.get('v1') ?? 0;
  t.equal(first + (drawn.get('v2') ?? 0), runs, 'every request was answered by one of the two');
  const threeSigma = 3 * Math.sqrt(runs * 0.8 * 0.2);
  t.ok(Math.abs(first - 0.8 * runs) < threeSigma, `${first} of ${runs} went to v1`);
});

/** The bodies of so many answers. */
async function versionsIn(client: RawClient, count: number): Promise<string[]> {
  for (;;) {
    const bodies = [...client.received.matchAll(/\r\n\r\n(v\d)/g)];
    if (bodies.length === count) return bodies.map(([, name = '']) => name);
    await once(client.socket, 'data');
  }
}

t.test('jason sees v2 and everybody else v3', { skip: corpusMissing }, async t => {
  const files = ['virtual-service-reviews-jason-v2-v3.yaml', 'destination-rule-reviews.yaml'];
  const { client, request } = await bookinfo(t, 'reviews', files);
  const task = await client();
  for (let i = 0; i < 20; i++) {
    t.equal(versionOf(await task.askWhole(request('end-user: jason\r\n'))), 'v2');
    t.equal(versionOf(await task.askWhole(request())), 'v3');
    t.equal(versionOf(await task.askWhole(request('end-user: Jason\r\n'))), 'v3');
  }
});

t.test('jason waits 7 s for ratings and nobody else does', { skip: corpusMissing }, async t => {
  const clock = new FakeClock();
  const files = ['virtual-service-ratings-test-delay.yaml', 'destination-rule-all-mtls.yaml'];
  const { client, request, caller } = await bookinfo(t, 'ratings', files, clock);
  const task = await client();
  t.equal(versionOf(await task.askWhole(request())), 'v1');
  const sleepers = clock.sleepers;
  const delayed = task.askWhole(request('end-user: jason\r\n'));
  await clock.untilSleeping(sleepers + 1);
  await clock.advance(6_999);
  t.equal(caller.records.length, 1);
  await clock.advance(1);
  t.equal(versionOf(await delayed), 'v1');
  await caller.recorded(2);
  t.ok((caller.records[1]?.durationMs ?? 0) >= 7_000);
  t.match(caller.records[1], { flags: 'DI', status: 200 });
});

t.test('every call of details fails with 555', { skip: corpusMissing }, async t => {
  const { client, request, caller } = await bookinfo(t, 'details', ['fault-injection-details-v1.yaml']);
  const task = await client();
  t.match(await task.askWhole(request()), /^HTTP\/1\.1 555 [\s\S]*fault filter abort$/);
  await caller.recorded(1);
  t.match(caller.records[0], { flags: 'FI', status: 555 });
});

t.test('a subset that no rule defines is nobody', async t => {
  const { client, request, caller } = await bookinfo(t, 'reviews', []);
  const [document] = [
    decodeDocument(
      {
        apiVersion: 'networking.istio.io/v1',
        kind: 'VirtualService',
        metadata: { name: 'reviews' },
        spec: { hosts: ['reviews'], http: [{ route: [{ destination: { host: 'reviews', subset: 'v9' } }] }] },
      },
      'test',
    ),
  ];
  if (document.kind !== 'VirtualService') throw new TypeError(document.kind);
  caller.routes.set(compileRoutes([document], compileRegex));
  t.match(await (await client()).askWhole(request()), /^HTTP\/1\.1 503 [\s\S]*subset v9 of reviews\.default/);
});
