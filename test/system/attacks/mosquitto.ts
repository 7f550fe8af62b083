import { makeNonce } from '../../../src/identity/token.ts';
import { certificateListSchema } from '../../../src/model/certificate.ts';
import { topics } from '../../../src/model/topics.ts';
import { until } from '../../fixtures/fleet-until.ts';
import type { Arena } from './arena.ts';
import { type Attack, type Attempt, presume } from './attack.ts';
import { foreignTopics, wasHeard } from './broker.ts';
import { joinByHand } from './joins.ts';
import type { HandClient } from './wire.ts';

/** A node that was let in and has turned against the fleet; mosquitto takes its name from its certificate. */
async function traitor(arena: Arena): Promise<{ own: string; client: HandClient }> {
  const own = arena.fresh('traitor');
  const client = await arena.dial(await joinByHand(arena, own));
  presume((await client.login(own)) === 0, 'an honest CONNECT of it is taken');
  return { own, client };
}

const publish: Attack = {
  name: "publish outside one's topics, also as a retained message",
  async mount(arena) {
    const { own, client } = await traitor(arena);
    const documents = [topics.policy, topics.manifest, topics.service('hello.default')];
    const before = await arena.retained(documents);
    const attempts: Attempt[] = [];
    let messageId = 0;
    for (const topic of foreignTopics(own)) {
      const payload = `forged ${makeNonce()}`;
      client.publish(topic, payload, { qos: 1, messageId: ++messageId, retain: messageId % 2 === 0 });
      presume((await client.next())?.cmd === 'puback', 'mosquitto acknowledges what it drops');
      attempts.push({ what: topic, refused: !(await wasHeard(arena, payload)) });
    }
    client.socket.destroy();
    const after = await arena.retained(documents);
    const kept = documents.every((_, i) => after[i]?.equals(before[i] ?? Buffer.of()));
    return { attempts: [...attempts, { what: 'retained overwrite', refused: kept }], how: 'dropped by its ACL' };
  },
};

const subscribe: Attack = {
  name: "subscribe outside one's topics",
  async mount(arena) {
    const { own, client } = await traitor(arena);
    const stranger = await arena.dial();
    await stranger.login(makeNonce(), { username: own });
    const filters = ['#', 'mesolite/v1/up/#', topics.allDown('pi-1'), topics.allJoinRequests];
    for (const each of [client, stranger])
      await each.subscribe(...filters, ...(each === stranger ? [topics.policy] : []));
    const mark = `mark ${makeNonce()}`;
    for (const topic of [topics.up('pi-1', 'log'), topics.down('pi-1', 'ask')]) {
      arena.eavesdropper.say(topic, Buffer.from(mark));
    }
    await arena.eavesdropper.until('the mark', heard => heard.payload.toString() === mark);
    const attempts: Attempt[] = [];
    for (const [who, each] of Object.entries({ 'a node': client, 'one who joins': stranger })) {
      each.send({ cmd: 'pingreq' });
      const heard: string[] = [];
      for (let packet = await each.next(); packet?.cmd === 'publish'; packet = await each.next())
        heard.push(packet.topic);
      const foreign = heard.filter(topic => each === stranger || !topic.startsWith('mesolite/v1/all/'));
      attempts.push({ what: `${who} hears ${foreign.join(', ') || 'nothing'}`, refused: foreign.length === 0 });
      each.socket.destroy();
    }
    return { attempts, how: 'nothing of others is handed out' };
  },
};

const will: Attack = {
  name: 'forged will, and takeover of a client id',
  async mount(arena) {
    const { own, client } = await traitor(arena);
    client.socket.destroy();
    const identity = await joinByHand(arena, arena.fresh('traitor'));
    const attempts: Attempt[] = [];
    for (const topic of [topics.up('pi-1', 'death'), topics.policy, topics.up(own, 'death')]) {
      const payload = `forged ${makeNonce()}`;
      // under the name of pi-1, too
      await arena.loginCode(identity, 'pi-1', { will: { topic, payload: Buffer.from(payload), qos: 1, retain: true } });
      attempts.push({ what: topic, refused: !(await wasHeard(arena, payload)) });
    }
    const since = arena.eavesdropper.heard.length;
    const isBeat = ({ topic }: { topic: string }) => topic === topics.up('pi-1', 'hb');
    await arena.eavesdropper.until('pi-1 is still connected', isBeat, since, 60_000);
    const deaths = arena.eavesdropper.heard.filter(({ topic }) => topic === topics.up('pi-1', 'death'));
    return {
      attempts: [...attempts, { what: 'the connection of pi-1 is taken over', refused: deaths.length === 0 }],
      how: 'the name is that of the certificate, the will is dropped',
    };
  },
};

const stranger: Attack = {
  name: 'a stranger at the port of nodes, and one without a token at the other',
  async mount(arena) {
    const { insider } = arena;
    const bare = await arena.loginBare().catch(() => undefined);
    const early = await arena
      .loginCode(insider.node('shadow', Date.now() - 40 * 86_400_000), 'shadow')
      .catch(() => undefined);
    const before = await arena.countOf('join-refused');
    const client = await arena.dial();
    const nonce = makeNonce();
    await client.login(nonce, { username: '0123456789ab' });
    await client.subscribe(topics.joinResponse('0123456789ab', nonce));
    client.publish(topics.joinRequest('0123456789ab', nonce), JSON.stringify({ v: 1, body: '{}', mac: 'x' }));
    await until('the master notices', async () => (await arena.countOf('join-refused')) > before);
    client.send({ cmd: 'pingreq' });
    const quiet = (await client.next())?.cmd === 'pingresp';
    client.socket.destroy();
    return {
      attempts: [
        { what: 'without a certificate', refused: bare !== 0 },
        { what: 'with one that has expired', refused: early !== 0 },
        { what: 'with a token that is not known', refused: quiet },
      ],
      how: 'TLS fails; the master does not answer, and tells the operator',
    };
  },
};

const revoked: Attack = {
  name: 'a revoked node that stays connected',
  async mount(arena) {
    const { own, client } = await traitor(arena);
    await client.subscribe(topics.down(own, 'ack'));
    await arena.client.post(`/v1/nodes/${own}/revoke`, {}, certificateListSchema);
    const since = arena.eavesdropper.heard.length;
    const head = { v: 1, boot: 1, seq: 1, ts: Date.now() };
    const request = { ...head, id: 'r1', spiffeId: `spiffe://${arena.trustDomain}/node/${own}`, csr: 'AAAA' };
    client.publish(topics.up(own, 'csr'), JSON.stringify(request), { qos: 1, messageId: 1 });
    client.publish(topics.up(own, 'hb'), JSON.stringify({ ...head, full: true, usage: {}, held: '' }), {
      qos: 1,
      messageId: 2,
    });
    // heard after both: what the master would have said to them has been said
    await arena.api.output((await arena.api.tasks('visitor'))[0]?.id ?? '');
    await arena.checkWorks();
    client.socket.destroy();
    const answers = arena.eavesdropper.heard
      .slice(since)
      .filter(({ topic }) => topic.startsWith(`mesolite/v1/down/${own}/`));
    return {
      attempts: [{ what: 'it renews its certificate, or is asked who it is', refused: answers.length === 0 }],
      how: 'mosquitto keeps it, the master does not hear it and the mesh refuses it',
    };
  },
};

/** Attacks on what mosquitto is told to keep apart, and on what it cannot know. */
export const mosquittos: readonly Attack[] = [publish, subscribe, will, stranger, revoked];
