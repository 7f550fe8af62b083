import { once } from 'node:events';
import mqttPacket, { type Packet } from 'mqtt-packet';
import type { TlsIdentity } from '../../../src/identity/contexts.ts';
import { parseJoinString } from '../../../src/identity/join-string.ts';
import { makeNonce } from '../../../src/identity/token.ts';
import { topics } from '../../../src/model/topics.ts';
import { connectPacket } from '../../fixtures/wire.ts';
import type { Arena } from './arena.ts';
import { type Attack, type Attempt, presume } from './attack.ts';
import { joinByHand } from './joins.ts';
import type { HandClient } from './wire.ts';

const slowConnects = 200;
const dialledAtOnce = 50;
const dripEveryMs = 1_000;

/** A node that was let in and has turned against the fleet. */
async function traitor(arena: Arena, node: string): Promise<TlsIdentity> {
  const identity = await joinByHand(arena, node);
  presume((await arena.loginCode(identity, node)) === 0, 'an honest CONNECT of it is taken');
  return identity;
}

async function login(arena: Arena, identity: TlsIdentity, node: string): Promise<HandClient> {
  const client = await arena.dial(identity);
  presume((await client.login(node)) === 0, `${node} is connected`);
  return client;
}

/** Was this said to anybody? A message of one's own that comes back says that all before it has been handed out. */
export async function wasHeard(arena: Arena, payload: string): Promise<boolean> {
  const { eavesdropper } = arena;
  const mark = `mark ${makeNonce()}`;
  eavesdropper.say(topics.up('nobody', 'log'), Buffer.from(mark));
  await eavesdropper.until('the mark', heard => heard.payload.toString() === mark);
  return eavesdropper.heard.some(heard => heard.payload.includes(payload));
}

/** What a node may not say. */
export const foreignTopics = (own: string) => [
  topics.up('pi-1', 'birth'),
  topics.up('pi-1', 'death'),
  topics.up('pi-1', 'task'),
  topics.down('pi-1', 'task'),
  topics.down(own, 'task'),
  topics.policy,
  topics.manifest,
  topics.service('hello.default'),
  topics.joinResponse('0123456789ab', 'n1'),
  '$SYS/broker',
  'elsewhere',
];

const publish: Attack = {
  name: "publish outside one's topics",
  async mount(arena) {
    const own = arena.fresh('traitor');
    const identity = await traitor(arena, own);
    const attempts: Attempt[] = [];
    for (const topic of foreignTopics(own)) {
      const client = await login(arena, identity, own);
      const payload = `forged ${makeNonce()}`;
      client.publish(topic, payload, { qos: 1, messageId: 1 });
      const answer = await client.next();
      attempts.push({ what: topic, refused: answer === undefined && !(await wasHeard(arena, payload)) });
    }
    return { attempts, how: 'the connection is closed, nobody hears it' };
  },
};

const subscribe: Attack = {
  name: "subscribe outside one's topics",
  async mount(arena) {
    const own = arena.fresh('traitor');
    const identity = await traitor(arena, own);
    const client = await login(arena, identity, own);
    const filters = [
      '#',
      '+/+/+/+/+',
      'mesolite/v1/#',
      topics.allUp,
      topics.allDown('pi-1'),
      topics.up('pi-1', 'birth'),
    ];
    const more = [
      'mesolite/v1/down/+/task',
      topics.allJoinRequests,
      `$share/g/${topics.policy}`,
      '$SYS/#',
      'mesolite/v1/all/#',
    ];
    const granted = await client.subscribe(...filters, ...more);
    const ownTopics = await client.subscribe(topics.allDown(own));
    presume(ownTopics[0] === 1, 'its own topics are granted');
    client.send({ cmd: 'pingreq' });
    const quiet = (await client.next())?.cmd === 'pingresp';
    client.socket.destroy();
    const attempts = [...filters, ...more].map((what, i) => ({ what, refused: granted[i] === 128 }));
    return { attempts: [...attempts, { what: 'something of others came', refused: quiet }], how: 'SUBACK 0x80' };
  },
};

const will: Attack = {
  name: 'forged will',
  async mount(arena) {
    const own = arena.fresh('traitor');
    const identity = await traitor(arena, own);
    const wills = [
      { topic: topics.up('pi-1', 'death'), retain: false },
      { topic: topics.up(own, 'birth'), retain: false },
      { topic: topics.up(own, 'death'), retain: true },
      { topic: topics.policy, retain: true },
      { topic: topics.down('pi-1', 'task'), retain: false },
    ];
    const attempts: Attempt[] = [];
    for (const { topic, retain } of wills) {
      const payload = Buffer.from(JSON.stringify({ v: 1, boot: 1_000_000, forged: makeNonce() }));
      const fields = { will: { topic, payload, qos: 1, retain } };
      const code = await arena.loginCode(identity, own, fields);
      const refused = code !== 0 && !(await wasHeard(arena, payload.toString()));
      attempts.push({ what: `${topic}${retain ? ', retained' : ''}`, refused });
    }
    return { attempts, how: 'CONNACK 5' };
  },
};

const takeover: Attack = {
  name: 'takeover of a client id',
  async mount(arena) {
    const own = arena.fresh('traitor');
    const identity = await traitor(arena, own);
    const given = parseJoinString(await arena.api.joinString());
    const deaths = () => arena.eavesdropper.heard.filter(heard => heard.topic === topics.up('pi-1', 'death')).length;
    const before = deaths();
    const asNode = await arena.loginCode(identity, 'pi-1');
    const asMaster = await arena.loginCode(identity, 'eavesdropper');
    const joiner = await arena.dial();
    await joiner.login('pi-1', { username: given.id });
    const { eavesdropper } = arena;
    const since = eavesdropper.heard.length;
    await eavesdropper.until(
      'pi-1 is still connected',
      ({ topic }) => topic === topics.up('pi-1', 'hb'),
      since,
      60_000,
    );
    const granted = await joiner.subscribe(topics.allDown('pi-1'));
    joiner.socket.destroy();
    return {
      attempts: [
        { what: 'with the certificate of another node', refused: asNode !== 0 },
        { what: "under the master's name", refused: asMaster !== 0 },
        { what: 'as a joiner of that name', refused: granted[0] === 128 && deaths() === before },
      ],
      how: 'CONNACK 2; a joiner has no session but its own',
    };
  },
};

const retained: Attack = {
  name: 'retained overwrite by a node',
  async mount(arena) {
    const own = arena.fresh('traitor');
    const identity = await traitor(arena, own);
    const documents = [topics.policy, topics.manifest, topics.service('hello.default')];
    const before = await arena.retained(documents);
    for (const topic of [...documents, topics.up(own, 'birth')]) {
      for (const payload of ['overwritten', '']) {
        const client = await login(arena, identity, own);
        client.publish(topic, payload, { retain: true, qos: 1, messageId: 1 });
        presume((await client.next()) === undefined, `a retained message to ${topic} ends the connection`);
      }
    }
    const after = await arena.retained(documents);
    return {
      attempts: documents.map((what, i) => ({ what, refused: after[i]?.equals(before[i] ?? Buffer.of()) === true })),
      how: 'the connection is closed, the document stays',
    };
  },
};

const packets: Attack = {
  name: 'oversize and half-sent packets before CONNECT',
  async mount(arena) {
    const connect = mqttPacket.generate(connectPacket('n1', { username: 'x'.repeat(8_000) }));
    const huge = mqttPacket.generate(connectPacket('n1', { username: 'x'.repeat(60_000) }));
    const early: Packet = {
      cmd: 'publish',
      topic: topics.up('pi-1', 'birth'),
      payload: 'x',
      qos: 0,
      dup: false,
      retain: false,
    };
    const pieces: readonly (readonly [string, Uint8Array])[] = [
      ['the head of a packet of 256 MB', Uint8Array.of(0x10, 0xff, 0xff, 0xff, 0x7f)],
      ['a CONNECT of 60 kB', huge],
      ['a length without end', Uint8Array.of(0x10, 0xff, 0xff, 0xff, 0xff, 0xff)],
      ['half a CONNECT', connect.subarray(0, 12)],
      ['all but its last byte', connect.subarray(0, -1)],
      ['nothing', new Uint8Array()],
      ['a PUBLISH', mqttPacket.generate(early)],
      ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ];
    const own = arena.fresh('traitor');
    const identity = await traitor(arena, own);
    const attempts = pieces.flatMap(([what, bytes]) =>
      [identity, undefined].map(async who => {
        const client = await arena.dial(who);
        if (bytes.length > 0) client.send(bytes);
        const name = who === undefined ? 'a stranger' : 'a node';
        return { what: `${what}, by ${name}`, refused: await isClosed(client, 15_000) };
      }),
    );
    return { attempts: await Promise.all(attempts), how: 'closed at once, or after 5 s' };
  },
};

async function isClosed(client: HandClient, withinMs: number): Promise<boolean> {
  const timeout = AbortSignal.timeout(withinMs);
  const late = once(timeout, 'abort').then(() => false);
  const closed = await Promise.race([client.closed().then(() => true), late]);
  client.socket.destroy();
  return closed;
}

const slow: Attack = {
  name: `${slowConnects} slow CONNECTs`,
  async mount(arena) {
    const bytes = mqttPacket.generate(connectPacket('n1', { username: 'x'.repeat(100) }));
    const clients: HandClient[] = [];
    // no more at once than one address may have open at the port of the API
    while (clients.length < slowConnects) {
      clients.push(...(await Promise.all(Array.from({ length: dialledAtOnce }, () => arena.dial()))));
    }
    let sent = 0;
    const drip = () => {
      for (const { socket } of clients) if (!socket.destroyed) socket.write(bytes.subarray(sent, sent + 1));
      sent++;
    };
    drip();
    const timer = setInterval(drip, dripEveryMs);
    try {
      const held = clients.filter(({ socket }) => !socket.destroyed).length;
      presume(held > 0, `of ${slowConnects} that came in some are still there`);
      const begun = performance.now();
      const newcomer = await arena.startAgent(arena.fresh('newcomer'));
      const ms = Math.round(performance.now() - begun);
      await newcomer.stop();
      const closed = await Promise.all(clients.map(client => isClosed(client, 15_000)));
      return {
        attempts: closed.map((refused, i) => ({ what: `slow CONNECT ${i + 1}`, refused })),
        how: `cut off after 5 s; meanwhile a new agent starts, joins and is ready in ${ms} ms`,
      };
    } finally {
      clearInterval(timer);
    }
  },
};

/** Attacks on the broker. */
export const brokers: readonly Attack[] = [publish, subscribe, will, takeover, retained, packets, slow];
