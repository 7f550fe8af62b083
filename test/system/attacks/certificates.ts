import { request } from 'node:http';
import { connect } from 'node:tls';
import * as v from 'valibot';
import { decodeJson } from '../../../src/base/shape.ts';
import { openFiles } from '../../../src/device/files.ts';
import { clientTlsOptions, type TlsIdentity } from '../../../src/identity/contexts.ts';
import { certificateListSchema } from '../../../src/model/certificate.ts';
import { untilTasks } from '../../fixtures/fleet.ts';
import { job } from '../../fixtures/fleet-api.ts';
import { callerProgram } from '../../fixtures/fleet-calls.ts';
import { until } from '../../fixtures/fleet-until.ts';
import type { AgentProgram, Arena } from './arena.ts';
import { type Attack, presume } from './attack.ts';
import { dial, loginCode } from './wire.ts';

const dayMs = 86_400_000;
const certificateSchema = v.object({ spiffeId: v.string(), keyPem: v.string(), chainPem: v.string() });

/** The status of a call over mutual TLS at the mesh port of pi-1, as the proxy of another node would make it; undefined when it is cut. */
async function meshStatus(arena: Arena, identity: TlsIdentity): Promise<number | undefined> {
  const [task] = await arena.api.tasks('hello');
  const servername = await arena.serverNameOf(task?.id ?? '');
  const tls = { ...clientTlsOptions(identity, arena.bundle, 'caller'), ALPNProtocols: ['http/1.1'] };
  const socket = connect({ ...tls, host: '127.0.0.1', port: arena.victim.meshPort, servername });
  try {
    return await new Promise<number | undefined>(resolve => {
      socket.once('error', () => resolve(undefined));
      socket.once('close', () => resolve(undefined));
      const call = request({ createConnection: () => socket, headers: { host: 'hello.default.mesh' }, path: '/' });
      call.once('error', () => resolve(undefined));
      call.once('response', response => resolve(response.resume().statusCode));
      socket.once('secureConnect', () => call.end());
    });
  } finally {
    socket.destroy();
  }
}

/** What a thief reads from a card: the certificates of the workloads that are on the disk of a node. */
async function workloadsOf({ dataDir }: AgentProgram): Promise<(TlsIdentity & { spiffeId: string })[]> {
  const files = await openFiles(dataDir);
  const names = (await files.list()).filter(name => name.startsWith('certificate-'));
  const stored = await Promise.all(names.map(name => files.read(name)));
  return stored.flatMap(file => (file === undefined ? [] : [decodeJson(certificateSchema, file.value, 'certificate')]));
}

const revoked: Attack = {
  name: 'revoked certificate at broker and mesh',
  async mount(arena) {
    const thiefs = await arena.startAgent('pi-4');
    const onIt = { constraints: [{ attribute: 'node', operator: 'in', values: ['pi-4'] }] };
    await arena.api.apply(job('stolen', { ...onIt, serviceAccount: 'stolen', command: callerProgram }));
    await untilTasks(arena.api, 'stolen', 'TASK_RUNNING');
    const workload = await until('its certificate is on the disk', async () =>
      (await workloadsOf(thiefs)).find(({ spiffeId }) => spiffeId.endsWith('/sa/stolen')),
    );
    const node = await arena.identityOf(thiefs);
    await thiefs.stop();
    presume((await meshStatus(arena, workload)) === 200, 'the mesh answers it before');
    const session = await dial(arena.mqttPort, arena.bundle, node);
    presume((await session.login('pi-4')) === 0, 'the broker takes it before');
    const begun = performance.now();
    await arena.client.post('/v1/nodes/pi-4/revoke', {}, certificateListSchema);
    await until('the mesh refuses it', async () => (await meshStatus(arena, workload)) === undefined);
    const ms = Math.round(performance.now() - begun);
    await session.closed();
    const code = await loginCode(arena.mqttPort, arena.bundle, node, 'pi-4');
    await arena.api.remove('Job', 'stolen');
    return {
      attempts: [
        { what: 'its session at the broker', refused: session.socket.destroyed },
        { what: 'a new CONNECT', refused: code !== 0 },
        { what: 'a call in the mesh', refused: (await meshStatus(arena, workload)) === undefined },
      ],
      how: `its session ends, CONNACK ${code}, no proxy answers it (${ms} ms after the order)`,
    };
  },
};

const expired: Attack = {
  name: 'expired certificate at broker and mesh',
  async mount(arena) {
    const spiffeId = `spiffe://${arena.trustDomain}/ns/default/sa/visitor`;
    const { insider } = arena;
    presume((await meshStatus(arena, insider.workload(spiffeId))) === 200, 'the mesh answers one that is valid');
    const valid = await loginCode(arena.mqttPort, arena.bundle, insider.node('shadow'), 'shadow');
    presume(valid === 0, 'the broker takes one that is valid');
    const code = await loginCode(
      arena.mqttPort,
      arena.bundle,
      insider.node('shadow', Date.now() - 40 * dayMs),
      'shadow',
    );
    const status = await meshStatus(arena, insider.workload(spiffeId, Date.now() - 2 * dayMs));
    const early = await meshStatus(arena, insider.workload(spiffeId, Date.now() + 2 * dayMs));
    return {
      attempts: [
        { what: 'at the broker, ten days after its end: longer than the grace', refused: code !== 0 },
        { what: 'in the mesh, a day after its end', refused: status === undefined },
        { what: 'in the mesh, two days before its begin', refused: early === undefined },
      ],
      how: `CONNACK ${code}; the proxy closes`,
    };
  },
};

/** Attacks with certificates that were good once. */
export const certificates: readonly Attack[] = [revoked, expired];
