import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { connect, createSecureContext } from 'node:tls';
import t, { type Test } from 'tap';
import { goodCiphers } from '../../src/identity/contexts.ts';
import {
  Mesh,
  type NodeOptions,
  policyOf,
  RawClient,
  rawOrigin,
  serverNameOf,
  serviceOf,
  startNode,
} from '../fixtures/proxy-node.ts';

const mesh = new Mesh();
const hasIpv6 = Object.values(networkInterfaces()).some(list => list?.some(({ address }) => address === '::1'));
const get = 'GET / HTTP/1.1\r\nHost: web\r\n\r\n';

async function served(t: Test, options: NodeOptions = {}) {
  const origin = await rawOrigin(t, socket => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
  return startNode(t, { ...options, workloads: [mesh.workload('web', { appPort: origin.port })] });
}

async function callAs(t: Test, host: string, port: number, maxVersion: 'TLSv1.2' | 'TLSv1.3', ciphers?: string) {
  const { keyPem: key, chainPem: cert } = mesh.identity('client');
  const ca = mesh.authority.authority.rootPem;
  const secureContext = createSecureContext({
    key,
    cert,
    ca,
    minVersion: 'TLSv1.2',
    maxVersion,
    ...(ciphers && { ciphers }),
  });
  const servername = serverNameOf('web');
  const socket = connect({ host, port, servername, secureContext, checkServerIdentity: () => undefined });
  t.teardown(() => socket.destroy());
  await once(socket, 'secureConnect');
  return { version: socket.getProtocol(), client: new RawClient(socket) };
}

t.test('the mesh port speaks TLS 1.3 alone unless it is told otherwise', async t => {
  const node = await served(t);
  await t.rejects(callAs(t, '127.0.0.1', node.running.meshPort, 'TLSv1.2'));
  t.equal((await callAs(t, '127.0.0.1', node.running.meshPort, 'TLSv1.3')).version, 'TLSv1.3');
});

t.test(
  'with TLS 1.2 allowed, who the client is counts as with 1.3, old ciphers do not, and 1.3 is still taken',
  async t => {
    const allow = { rules: [{ from: [{ source: { principals: ['edge.local/ns/default/sa/client'] } }] }] };
    const node = await served(t, { olderTls: { ciphers: goodCiphers }, policy: policyOf('allow', allow) });
    const { version, client } = await callAs(t, '127.0.0.1', node.running.meshPort, 'TLSv1.2');
    t.equal(version, 'TLSv1.2');
    t.match(await client.askWhole(get), /^HTTP\/1\.1 200 /);
    await t.rejects(callAs(t, '127.0.0.1', node.running.meshPort, 'TLSv1.2', 'ECDHE-ECDSA-AES128-SHA256'));
    const modern = await callAs(t, '127.0.0.1', node.running.meshPort, 'TLSv1.3');
    t.equal(modern.version, 'TLSv1.3');
    t.match(await modern.client.askWhole(get), /^HTTP\/1\.1 200 /);
  },
);

t.test(
  'without an address the mesh port is there for IPv4 and IPv6, and policies see plain addresses',
  {
    skip: !hasIpv6 && 'needs IPv6',
  },
  async t => {
    const node = await served(t, { meshHost: null });
    const statusFrom = async (host: string, block: string) => {
      node.policy.set(policyOf('allow', { rules: [{ from: [{ source: { ipBlocks: [block] } }] }] }));
      const { client } = await callAs(t, host, node.running.meshPort, 'TLSv1.3');
      return (await client.askWhole(get)).slice(9, 12);
    };
    t.equal(await statusFrom('127.0.0.1', '127.0.0.0/8'), '200');
    t.equal(await statusFrom('::1', '127.0.0.0/8'), '403');
    t.equal(await statusFrom('::1', '::1/128'), '200');
  },
);

t.test('a task calls an endpoint that has an address of IPv6', { skip: !hasIpv6 && 'needs IPv6' }, async t => {
  const node = await served(t, { meshHost: '::1' });
  const { endpoints, ...service } = serviceOf('web', [node.running.meshPort]);
  const caller = await startNode(t, {
    workloads: [mesh.workload('client', { upstreams: ['web.default'] })],
    services: [{ ...service, endpoints: endpoints.map(each => ({ ...each, address: '::1' })) }],
  });
  const proof = `Proxy-Authorization: Basic ${Buffer.from('client-1:secret-of-client').toString('base64')}\r\n`;
  const client = await RawClient.plain(t, caller.running.outboundPort);
  t.match(await client.askWhole(`GET http://web/ HTTP/1.1\r\nHost: web\r\n${proof}\r\n`), /^HTTP\/1\.1 200 /);
});

t.test('an address that this node does not have is named', async t => {
  await t.rejects(served(t, { meshHost: '192.0.2.1' }), {
    code: 'START_FAILED',
    message: /cannot listen on 192\.0\.2\.1, port 0: .*EADDRNOTAVAIL/,
  });
});
