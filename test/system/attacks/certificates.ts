import { readdirSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:tls';
import * as v from 'valibot';
import { decodeJson } from '../../../src/base/shape.ts';
import { openFiles } from '../../../src/device/files.ts';
import { clientTlsOptions, type TlsIdentity } from '../../../src/identity/contexts.ts';
import { makeNonce } from '../../../src/identity/token.ts';
import { certificateListSchema } from '../../../src/model/certificate.ts';
import { topics } from '../../../src/model/topics.ts';
import { untilTasks } from '../../fixtures/fleet.ts';
import { job } from '../../fixtures/fleet-api.ts';
import { callerProgram } from '../../fixtures/fleet-calls.ts';
import { until } from '../../fixtures/fleet-until.ts';
import type { AgentProgram, Arena } from './arena.ts';
import { type Attack, type Attempt, presume } from './attack.ts';
import type { Heard } from './wire.ts';

const dayMs = 86_400_000;
const certificateSchema = v.object({ spiffeId: v.string(), keyPem: v.string(), chainPem: v.string() });

/** The status of a call over mutual TLS at the mesh port of pi-1, as the proxy of another node would make it; undefined when it is cut. */
export async function meshStatus(arena: Arena, identity: TlsIdentity): Promise<number | undefined> {
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
    await until('its certificate is on the disk', () =>
      readdirSync(thiefs.dataDir).some(name => /^certificate-[0-9a-f]+$/.test(name)),
    );
    await thiefs.stop();
    const node = await arena.identityOf(thiefs);
    const [workload] = await workloadsOf(thiefs);
    if (workload === undefined) throw new Error('there is no certificate of a workload on the disk');
    presume((await meshStatus(arena, workload)) === 200, 'the mesh answers it before');
    const session = await arena.dial(node);
    presume((await session.login('pi-4')) === 0, 'the broker takes it before');
    const begun = performance.now();
    await arena.client.post('/v1/nodes/pi-4/revoke', {}, certificateListSchema);
    await until('the mesh refuses it', async () => (await meshStatus(arena, workload)) === undefined);
    const ms = Math.round(performance.now() - begun);
    await session.closed();
    const code = await arena.loginCode(node, 'pi-4');
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
    const valid = await arena.loginCode(insider.node('shadow'), 'shadow');
    presume(valid === 0, 'the broker takes one that is valid');
    const code = await arena.loginCode(insider.node('shadow', Date.now() - 40 * dayMs), 'shadow');
    const graced = await inGrace(arena);
    const status = await meshStatus(arena, insider.workload(spiffeId, Date.now() - 2 * dayMs));
    const early = await meshStatus(arena, insider.workload(spiffeId, Date.now() + 2 * dayMs));
    return {
      attempts: [
        { what: 'at the broker, ten days after its end: longer than the grace', refused: code !== 0 },
        ...graced,
        { what: 'in the mesh, a day after its end', refused: status === undefined },
        { what: 'in the mesh, two days before its begin', refused: early === undefined },
      ],
      how: `CONNACK ${code}; the proxy closes`,
    };
  },
};

/** Two days after its end, inside the grace, a certificate may be renewed at the broker, and is good for nothing else. */
async function inGrace(arena: Arena): Promise<readonly Attempt[]> {
  const client = await arena.dial(arena.insider.node('late', Date.now() - 32 * dayMs));
  presume((await client.login('late')) === 0, 'it is let in');
  const secrets = [topics.policy, topics.manifest, topics.down('late', 'task'), topics.allDown('late')];
  const [answer, ...granted] = await client.subscribe(topics.down('late', 'ack'), ...secrets);
  presume(answer === 1, 'it may hear the answer');
  const since = arena.eavesdropper.heard.length;
  const marked = `mark ${makeNonce()}`;
  for (const [i, kind] of (['birth', 'hb', 'task', 'csr'] as const).entries()) {
    client.publish(topics.up('late', kind), marked, { qos: 1, messageId: i + 1 });
  }
  const isMarked = ({ payload }: Heard) => payload.toString() === marked;
  await arena.eavesdropper.until('it may ask', isMarked, since);
  client.socket.destroy();
  const heard = arena.eavesdropper.heard.slice(since).filter(isMarked);
  const isQuiet = heard.every(({ topic }) => topic === topics.up('late', 'csr'));
  return [
    ...secrets.map((what, i) => ({ what: `two days after its end, hearing ${what}`, refused: granted[i] === 128 })),
    { what: 'two days after its end, saying more than that it wants to renew', refused: isQuiet },
  ];
}

const noWorkload: Attack = {
  name: 'a certificate that is no workload’s, in the mesh',
  async mount(arena) {
    const { insider } = arena;
    const others = { 'a node': insider.node('shadow'), 'the master': insider.broker() };
    const attempts: Attempt[] = [];
    for (const [what, identity] of Object.entries(others)) {
      attempts.push({ what, refused: (await meshStatus(arena, identity)) === undefined });
    }
    return { attempts, how: 'the proxy closes, though no policy names who may call' };
  },
};

/** Attacks with certificates that were good once, or for something else. */
export const certificates: readonly Attack[] = [revoked, expired, noWorkload];
