/** Agents as far as a policy concerns them, for `policy-push.ts`: `policy-agents.js DATA_DIR PORT FIRST COUNT`, with the keys of that master. */
import { setMaxListeners } from 'node:events';
import { authorizationOf, compileInto, denyAll, policySlot } from '../../src/agent/policy.ts';
import { makeRefusals } from '../../src/agent/refusals.ts';
import { makeSender } from '../../src/agent/sender.ts';
import { makeSignedInbox } from '../../src/agent/signed-inbox.ts';
import { Cell } from '../../src/base/cell.ts';
import { silentLog } from '../../src/base/log.ts';
import { systemClock } from '../../src/device/clock.ts';
import { systemRandom } from '../../src/device/dice.ts';
import { type Files, openFiles } from '../../src/device/files.ts';
import type { Authority } from '../../src/identity/authority.ts';
import { clientTlsOptions } from '../../src/identity/contexts.ts';
import { generateKeyPair, printPrivateKey } from '../../src/identity/keys.ts';
import { createRequest } from '../../src/identity/request.ts';
import { makeEnvelopeVerifier } from '../../src/identity/signer.ts';
import { tlsDial } from '../../src/link/dial.ts';
import { untilUp } from '../../src/link/link.ts';
import { MqttLink } from '../../src/link/mqtt-link.ts';
import { Outbox } from '../../src/link/outbox.ts';
import { openAuthorityFile } from '../../src/master/authority-file.ts';
import { printSpiffeId } from '../../src/model/identity.ts';
import { topics } from '../../src/model/topics.ts';
import { authorize } from '../../src/policy/authorize.ts';
import type { CompiledPolicy } from '../../src/policy/compile.ts';
import { monotonicMs, type Said } from './policy-push.ts';

const trustDomain = 'bench.mesh';
const [dataDir = '', port = '', first = '', count = ''] = process.argv.slice(2);
const controller = new AbortController();
// each agent listens
setMaxListeners(0, controller.signal);
process.once('disconnect', () => process.exit(0));

const file = await openAuthorityFile(await openFiles(dataDir), { trustDomain }, systemClock.now());
const [generation] = await file.load();
if (generation === undefined) throw new Error('the master has no authority');
const { authority } = generation;
/** The SD card of an agent. */
const noFiles: Files = {
  read: async () => undefined,
  write: async () => {},
  remove: async () => {},
  list: async () => [],
  keepReserve: async () => true,
};

for (let i = 0; i < Number(count); i++) await startAgent(authority, `agent-${Number(first) + i}`);
say({ ready: true });

async function startAgent(authority: Authority, node: string): Promise<void> {
  const keys = generateKeyPair();
  const request = createRequest(printSpiffeId({ kind: 'node', trustDomain, node }), keys);
  const { chainPem } = authority.issueNode(request, node, systemClock.now());
  const identity = { keyPem: printPrivateKey(keys.privateKey), chainPem };
  const tls = () => clientTlsOptions(identity, authority.bundle, 'tls');
  const dial = tlsDial({ tls, verifyServer: () => undefined }, { host: '127.0.0.1', port: Number(port) });
  const link = new MqttLink({ dial, clock: systemClock, random: systemRandom, log: silentLog }, { clientId: node });
  const outbox = new Outbox({ link, log: silentLog });
  const sender = makeSender({ lanes: outbox, clock: systemClock }, { node, boot: 1 });
  const refusals = makeRefusals({ sender, clock: systemClock, log: silentLog });
  const verify = makeEnvelopeVerifier(authority.signers, authority.bundle, () => ({ now: systemClock.now() }));
  const policy = new Cell(denyAll(trustDomain));
  const parts = { verify, files: noFiles, clock: systemClock, sender, refusals, log: silentLog };
  const slot = policySlot([compileInto(policy, authorizationOf)], { node, onRollout: () => {} });
  const inbox = makeSignedInbox(parts, slot);
  let mark = -1;
  policy.watch(compiled => {
    const at = monotonicMs();
    if (denies(compiled, mark + 1)) say({ mark: ++mark, at });
  });
  void outbox.start(controller.signal);
  link.subscribe(topics.policy, (_, wire) => void inbox.receive(Uint8Array.from(wire)));
  await link.start(controller.signal);
  await untilUp(link, controller.signal);
}

/** By a decision, since that is what enforcement is. */
function denies(compiled: CompiledPolicy, mark: number): boolean {
  const policy = compiled.forWorkload({ namespace: 'default', serviceAccount: 'default', labels: {} });
  const connection = { sourceIp: '10.0.0.1', destinationIp: '10.0.0.2', destinationPort: 80 };
  const { reason } = authorize(policy, { protocol: 'http', ...connection, method: 'GET', path: `/mark/${mark}` });
  return reason === 'policy-deny';
}

function say(said: Said): void {
  process.send?.(said);
}
