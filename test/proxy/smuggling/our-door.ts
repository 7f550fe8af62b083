import { once } from 'node:events';
import { connect } from 'node:tls';
import { type Mesh, type Owner, serverNameOf, startNode } from '../../fixtures/proxy-node.ts';
import { Origin } from './origin.ts';
import type { Door } from './trial.ts';

/** Our own proxy's mesh port, for one client over mutual TLS. */
export async function ourDoor(t: Owner, mesh: Mesh): Promise<Door> {
  const origin = new Origin();
  const appPort = await origin.listen();
  t.teardown(() => origin.close());
  const { running } = await startNode(t, { workloads: [mesh.workload('web', { appPort })] });
  const connectClient = async () => {
    const socket = connect({
      host: '127.0.0.1',
      port: running.meshPort,
      servername: serverNameOf('web'),
      secureContext: mesh.context('client'),
      checkServerIdentity: () => undefined,
    });
    await once(socket, 'secureConnect');
    return socket;
  };
  return { name: 'ours', origin, connect: connectClient };
}
