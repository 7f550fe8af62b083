import { once } from 'node:events';
import { TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { Cell } from '../../../src/base/cell.ts';
import { silentLog } from '../../../src/base/log.ts';
import { systemClock } from '../../../src/device/clock.ts';
import { meshConnector } from '../../../src/proxy/upstream/connectors.ts';
import { Mesh, openSslPeers, rawOrigin, serverNameOf, spiffe, startNode } from '../../fixtures/proxy-node.ts';

const mesh = new Mesh();

async function connectorTo(t: Test, spiffeId: string) {
  const origin = await rawOrigin(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  const parts = {
    log: silentLog,
    peers: openSslPeers(systemClock),
    readBuffer: Buffer.alloc(65_536),
    tls: new Cell(mesh.context('client')),
  };
  const address = { address: '127.0.0.1', port: node.running.meshPort, serverName: serverNameOf('web'), spiffeId };
  const connector = meshConnector(parts, address);
  /** One call on a connection of its own; the bytes read bring the session tickets with them. */
  const call = async () => {
    let answered = (): void => {};
    const answer = new Promise<void>(resolve => {
      answered = resolve;
    });
    const socket = connector.connect((length, bytes) => {
      if (bytes.toString('latin1', 0, length).endsWith('ok')) answered();
      return true;
    });
    t.teardown(() => socket.destroy());
    await once(socket, connector.readyEvent);
    const accepted = connector.accepts(socket);
    const resumed = socket instanceof TLSSocket && socket.isSessionReused();
    if (accepted) {
      socket.write('GET / HTTP/1.1\r\nHost: web\r\n\r\n');
      await answer;
    }
    socket.destroy();
    return { accepted, resumed };
  };
  return { call, node };
}

t.test('a second connection resumes the session, and both sides still know who the other is', async t => {
  const { call, node } = await connectorTo(t, spiffe('web'));
  t.same(await call(), { accepted: true, resumed: false });
  for (let i = 0; i < 4; i++) t.same(await call(), { accepted: true, resumed: true });
  t.same([...new Set(node.records.map(record => record.source))], ['edge.local/ns/default/sa/client']);
});

t.test('a peer with another identity is not accepted, however often it is asked', async t => {
  const { call } = await connectorTo(t, spiffe('bank'));
  for (let i = 0; i < 3; i++) t.same(await call(), { accepted: false, resumed: false });
});
