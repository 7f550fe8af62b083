import { type Envelope, sealEnvelope } from '../../../src/model/envelope.ts';
import { type DocumentAck, decodeUp } from '../../../src/model/message.ts';
import { topics } from '../../../src/model/topics.ts';
import { untilTasks } from '../../fixtures/fleet.ts';
import { job, policyFor } from '../../fixtures/fleet-api.ts';
import { until } from '../../fixtures/fleet-until.ts';
import { makeTestAuthority } from '../../fixtures/test-authority.ts';
import type { Arena } from './arena.ts';
import { type Attack, type Attempt, presume } from './attack.ts';
import { EvilBroker } from './evil-broker.ts';

/** Of what a node says about what it was sent. */
type Refused = Pick<DocumentAck, 'kind' | 'revision'>;

/** What is inside, unverified. */
function read(wire: Buffer): Envelope {
  return JSON.parse(wire.subarray(wire.indexOf(0x0a) + 1).toString());
}

/** Says it as the broker's owner can, and waits until pi-1 has told the master that it does not take it. */
async function isRefused(arena: Arena, topic: string, wire: Buffer, { kind, revision }: Refused): Promise<boolean> {
  const { eavesdropper } = arena;
  const since = eavesdropper.heard.length;
  eavesdropper.say(topic, wire);
  const isAnswer = ({ topic, payload }: { topic: string; payload: Buffer }) => {
    if (topic !== topics.up('pi-1', 'ack')) return false;
    const ack = decodeUp('ack', payload);
    return ack.kind === kind && ack.revision === revision;
  };
  const { payload } = await eavesdropper.until(`what pi-1 makes of a ${kind}`, isAnswer, since);
  return decodeUp('ack', payload).reason !== undefined;
}

const openToAll = (name: string) =>
  policyFor('hello', name, { action: 'DENY', rules: [{ to: [{ operation: { paths: [`/${name}`] } }] }] });

/** Lets the master say something to pi-1 on `topic`, and returns what went over the wire. */
async function capture(arena: Arena, topic: string, cause: () => Promise<unknown>): Promise<Buffer> {
  const since = arena.eavesdropper.heard.length;
  await cause();
  return (await arena.eavesdropper.until(topic, heard => heard.topic === topic, since)).payload;
}

const captureAssignment = (arena: Arena, name: string) =>
  capture(arena, topics.down('pi-1', 'task'), async () => {
    const onVictim = { constraints: [{ attribute: 'node', operator: 'in', values: ['pi-1'] }] };
    await arena.api.apply(job(name, { type: 'batch', command: ['/bin/sh', '-c', 'exit 0'], ...onVictim }));
    await untilTasks(arena.api, name, 'TASK_FINISHED');
  });

const captureAsk = (arena: Arena) =>
  capture(arena, topics.down('pi-1', 'ask'), async () => {
    const [task] = await arena.api.tasks('visitor');
    await arena.api.output(task?.id ?? '');
  });

const replay: Attack = {
  name: 'replayed and rolled-back envelopes',
  async mount(arena) {
    const [before = Buffer.of()] = await arena.retained([topics.policy]);
    await arena.api.apply(openToAll('shut'));
    await until('the new policy holds', async () => (await arena.status('/shut')) === 403);
    const assignment = await captureAssignment(arena, 'replayed');
    const ask = await captureAsk(arena);
    const attempts = [...(await again(arena, { before, assignment, ask }, ''))];
    attempts.push({ what: 'the newer policy holds', refused: (await arena.status('/shut')) === 403 });
    await arena.victim.stop();
    await restart(arena);
    attempts.push(...(await again(arena, { before, assignment, ask }, ' after a restart')));
    attempts.push({ what: 'the newer policy holds after a restart', refused: (await arena.status('/shut')) === 403 });
    return { attempts, how: 'refused as older or said before, and reported' };
  },
};

interface Captured {
  readonly before: Buffer;
  readonly assignment: Buffer;
  readonly ask: Buffer;
}

async function again(arena: Arena, { before, assignment, ask }: Captured, when: string): Promise<readonly Attempt[]> {
  const [policy, task, question] = [read(before), read(assignment), read(ask)];
  const tell = async (what: string, topic: string, wire: Buffer, envelope: Refused) => ({
    what: `${what}${when}`,
    refused: await isRefused(arena, topic, wire, envelope),
  });
  return [
    await tell('the policy before', topics.policy, before, policy),
    await tell('an assignment', topics.down('pi-1', 'task'), assignment, task),
    await tell('an ask', topics.down('pi-1', 'ask'), ask, question),
  ];
}

async function restart(arena: Arena): Promise<void> {
  const { eavesdropper } = arena;
  const since = eavesdropper.heard.length;
  arena.victim.start();
  await eavesdropper.until('pi-1 is back', ({ topic }) => topic === topics.up('pi-1', 'birth'), since, 60_000);
}

const stranger: Attack = {
  name: 'an envelope signed by a stranger',
  async mount(arena) {
    const { authority } = makeTestAuthority(Date.now(), { trustDomain: arena.trustDomain });
    const [genuine = Buffer.of()] = await arena.retained([topics.policy]);
    const { body, ...known } = read(genuine);
    const revision = known.revision + 1_000_000;
    const times = { issuedAt: Date.now(), expiresAt: Date.now() + 3_600_000 };
    const seal = (kind: Envelope['kind'], subject: string, body: unknown) =>
      sealEnvelope({ kind, subject, revision, ...times, body }, authority.signer);
    const nameless = (kind: Envelope['kind']): Refused => ({ kind, revision: 0 });
    // the true signer's name above a stranger's signature
    const head = genuine.subarray(0, 'mesolite1 '.length + 64);
    const forged = seal('ask', 'pi-1', { what: 'birth' });
    const underHerName = Buffer.concat([head, forged.subarray(head.length)]);
    const tell = async (what: string, topic: string, wire: Buffer, kind: Envelope['kind']) => ({
      what,
      refused: await isRefused(arena, topic, wire, nameless(kind)),
    });
    const task = { epoch: 1_000_000, generation: 1, full: true, base: 0, put: [], remove: [] };
    return {
      attempts: [
        await tell('a policy', topics.policy, seal('policy', 'all', body), 'policy'),
        await tell('a manifest with roots of its own', topics.manifest, seal('manifest', 'all', {}), 'manifest'),
        await tell('an assignment', topics.down('pi-1', 'task'), seal('assignment', 'pi-1', task), 'assignment'),
        await tell("an ask under the master's key id", topics.down('pi-1', 'ask'), underHerName, 'ask'),
      ],
      how: 'not parsed, refused and reported',
    };
  },
};

const elsewhere: Attack = {
  name: 'an envelope in the place of another',
  async mount(arena) {
    await arena.startAgent('pi-3');
    const [policy = Buffer.of()] = await arena.retained([topics.policy]);
    const since = arena.eavesdropper.heard.length;
    const onOther = { constraints: [{ attribute: 'node', operator: 'in', values: ['pi-3'] }] };
    await arena.api.apply(job('elsewhere', { type: 'batch', command: ['/bin/sh', '-c', 'exit 0'], ...onOther }));
    const others = topics.down('pi-3', 'task');
    const { payload } = await arena.eavesdropper.until('an assignment', heard => heard.topic === others, since);
    presume(read(payload).subject === 'pi-3', 'it is for pi-3');
    // a minute must pass before the same refusal is told again, so that pi-1 is another start of its agent here
    await arena.victim.stop();
    await restart(arena);
    const [asTask, asAsk] = [topics.down('pi-1', 'task'), topics.down('pi-1', 'ask')];
    return {
      attempts: [
        {
          what: 'the assignment of another node',
          refused: await isRefused(arena, asTask, payload, { kind: 'assignment', revision: 0 }),
        },
        { what: 'a policy as an ask', refused: await isRefused(arena, asAsk, policy, { kind: 'ask', revision: 0 }) },
        {
          what: 'a policy as the manifest',
          refused: await isRefused(arena, topics.manifest, policy, { kind: 'manifest', revision: 0 }),
        },
      ],
      how: 'refused for its kind or its subject, and reported',
    };
  },
};

/** What pi-1 tells of a document by itself, from `since` on. */
function isTold(arena: Arena, kind: Envelope['kind'], isMeant: (ack: DocumentAck) => boolean, since: number) {
  const matches = ({ topic, payload }: { topic: string; payload: Buffer }) => {
    if (topic !== topics.up('pi-1', 'ack')) return false;
    const ack = decodeUp('ack', payload);
    return ack.kind === kind && isMeant(ack);
  };
  return arena.eavesdropper.until(`what pi-1 says of the ${kind}`, matches, since, 60_000);
}

const withheld: Attack = {
  name: 'a withheld update, and old documents in its place',
  async mount(arena) {
    const { eavesdropper, relay } = arena;
    const documents = [topics.policy, topics.manifest, topics.service('hello.default')];
    const [oldPolicy = Buffer.of(), oldManifest = Buffer.of()] = await arena.retained(documents);
    await arena.api.apply(openToAll('between'));
    await until('the policy between holds', async () => (await arena.status('/between')) === 403);
    const told = await arena.countOf('document-withheld', 'pi-1');
    const { evil, port } = await EvilBroker.open(arena, documents);
    const since = eavesdropper.heard.length;
    relay.lead(port);
    await eavesdropper.until(
      'pi-1 is at the evil broker',
      ({ topic }) => topic === topics.up('pi-1', 'birth'),
      since,
      60_000,
    );
    presume((await arena.status('/private')) === 403, 'all goes on by way of it');

    evil.withhold(topics.policy);
    await arena.api.apply(openToAll('kept-back'));
    await isTold(arena, 'policy', ack => ack.withheld === true, since);
    await until('the operator is told', async () => (await arena.countOf('document-withheld', 'pi-1')) > told);
    const view = (await arena.api.policies()).find(({ name }) => name === 'kept-back');
    const refuses = async (kind: 'policy' | 'manifest', topic: string, wire: Buffer) => {
      const from = eavesdropper.heard.length;
      evil.say(topic, wire);
      const { payload } = await isTold(arena, kind, ({ revision }) => revision === read(wire).revision, from);
      return decodeUp('ack', payload).reason !== undefined;
    };
    const attempts = [
      {
        what: 'an update that is kept back passes for in force',
        refused: (view?.enforcedOn ?? 0) < (view?.nodes ?? 0),
      },
      {
        what: 'an older policy beside the newest manifest',
        refused: await refuses('policy', topics.policy, oldPolicy),
      },
      { what: 'an older manifest', refused: await refuses('manifest', topics.manifest, oldManifest) },
      { what: 'what was in force holds no more', refused: (await arena.status('/between')) === 403 },
    ];
    relay.lead(arena.mqttPort);
    evil.close();
    await until('the update is in force', async () => (await arena.status('/kept-back')) === 403);
    return { attempts, how: 'missed within 20 s and reported; the older ones are refused' };
  },
};

/** Attacks on what the master says, by one who owns the broker. */
export const forgeries: readonly Attack[] = [replay, stranger, elsewhere];

/** With those by one who stands between. */
export const envelopes: readonly Attack[] = [...forgeries, withheld];
