import { decodeJson } from '../../../src/base/shape.ts';
import type { TlsIdentity } from '../../../src/identity/contexts.ts';
import {
  bitString,
  boolean,
  type DerValue,
  element,
  encodeDer,
  encoded,
  integer,
  oid,
  sequence,
  set,
} from '../../../src/identity/der.ts';
import { encodeNames, extensionOids } from '../../../src/identity/extensions.ts';
import { type JoinString, parseJoinString } from '../../../src/identity/join-string.ts';
import { generateKeyPair, type KeyPair, keyIdOf, printPrivateKey, spkiOf } from '../../../src/identity/keys.ts';
import { createRequest } from '../../../src/identity/request.ts';
import { encodeSigned } from '../../../src/identity/signed.ts';
import { deriveJoinKey, joinRequestMac, joinResponseMac, macEquals, makeNonce } from '../../../src/identity/token.ts';
import { encodeMessage, type JoinResult, joinResponseSchema, joinResultSchema } from '../../../src/model/message.ts';
import { topics } from '../../../src/model/topics.ts';
import { until } from '../../fixtures/fleet-until.ts';
import { oddExtension } from '../../fixtures/odd-certificate.ts';
import type { Arena } from './arena.ts';
import { type Attack, type Attempt, presume } from './attack.ts';
import type { HandClient } from './wire.ts';

/** What one who joins by hand asks for. */
interface Wish {
  readonly node: string;
  readonly keys: KeyPair;
  readonly csr?: Buffer;
  /** In place of the token's. */
  readonly secret?: string;
}

const uriOf = (arena: Arena, node: string) => `spiffe://${arena.trustDomain}/node/${node}`;

async function token(arena: Arena, request: object = {}): Promise<JoinString> {
  return parseJoinString(await arena.api.joinString(request));
}

function requestOf(arena: Arena, token: JoinString, nonce: string, wish: Wish): { v: 1; body: string; mac: string } {
  const { node, keys, csr = createRequest(uriOf(arena, node), keys), secret = token.secret } = wish;
  const body = JSON.stringify({ node, csr: csr.toString('base64'), profile: 'generic-x86-64' });
  return { v: 1, body, mac: joinRequestMac(deriveJoinKey(secret), nonce, body) };
}

/** Stands at the door with the token's id, listening for an answer. */
async function knock(arena: Arena, tokenId: string, nonce: string): Promise<HandClient> {
  const client = await arena.dial();
  presume((await client.login(nonce, { username: tokenId })) === 0, 'the id of a token opens the door');
  presume((await client.subscribe(topics.joinResponse(tokenId, nonce)))[0] === 1, 'it hears its own answer');
  return client;
}

/** The master's answer, its proof checked; undefined when the connection ends first. */
async function answerTo(client: HandClient, token: JoinString, nonce: string, keys: KeyPair) {
  const packet = await client.next();
  if (packet?.cmd !== 'publish') return undefined;
  const { body, mac } = decodeJson(joinResponseSchema, Buffer.from(packet.payload), 'answer');
  const key = deriveJoinKey(token.secret);
  const isProven = [keyIdOf(keys.publicKey), ''].some(pin => macEquals(mac, joinResponseMac(key, nonce, pin, body)));
  presume(isProven, 'the answer is by one who has the secret');
  return decodeJson(joinResultSchema, body, 'result');
}

/** Asks to be let in and waits for the answer. */
async function ask(arena: Arena, token: JoinString, wish: Wish): Promise<JoinResult | undefined> {
  const nonce = makeNonce();
  const client = await knock(arena, token.id, nonce);
  client.publish(topics.joinRequest(token.id, nonce), encodeMessage(requestOf(arena, token, nonce, wish)));
  const result = await answerTo(client, token, nonce, wish.keys);
  client.socket.destroy();
  return result;
}

/** Joins as an honest node would, and returns what it was given. */
export async function joinByHand(arena: Arena, node: string, given?: JoinString): Promise<TlsIdentity> {
  const keys = generateKeyPair();
  const result = await ask(arena, given ?? (await token(arena)), { node, keys });
  if (result?.status !== 'accepted') throw new Error(`${node} is not let in: ${JSON.stringify(result)}`);
  return { chainPem: result.chain, keyPem: printPrivateKey(keys.privateKey) };
}

function attempt(what: string, result: JoinResult | undefined): Attempt {
  return { what, refused: result?.status === 'refused' };
}

/** Sends a request that deserves no answer; true when the master has noticed it and said nothing. */
async function staysUnanswered(arena: Arena, tokenId: string, nonce: string, message: object): Promise<boolean> {
  const before = await arena.countOf('join-refused');
  const client = await knock(arena, tokenId, nonce);
  client.publish(topics.joinRequest(tokenId, nonce), encodeMessage(message));
  await until('the master notices', async () => (await arena.countOf('join-refused')) > before);
  client.send({ cmd: 'pingreq' });
  const next = await client.next();
  client.socket.destroy();
  return next?.cmd === 'pingresp';
}

const replay: Attack = {
  name: 'token replay with another key',
  async mount(arena) {
    const given = await token(arena, { uses: 5 });
    const [honest, thief] = [generateKeyPair(), generateKeyPair()];
    const [first, second] = [arena.fresh('joiner'), arena.fresh('joiner')];
    presume((await ask(arena, given, { node: first, keys: honest }))?.status === 'accepted', 'an honest join');
    const again = await ask(arena, given, { node: first, keys: honest });
    presume(again?.status === 'accepted', 'the same key gets the same answer again');
    const stolen = await ask(arena, given, { node: first, keys: thief });
    const nonce = makeNonce();
    const captured = requestOf(arena, given, nonce, { node: second, keys: honest });
    const csr = createRequest(uriOf(arena, second), thief).toString('base64');
    const body = JSON.stringify({ ...JSON.parse(captured.body), csr });
    const altered = await staysUnanswered(arena, given.id, nonce, { ...captured, body });
    const otherNonce = await staysUnanswered(arena, given.id, makeNonce(), captured);
    return {
      attempts: [
        attempt('another key for a node that has joined', stolen),
        { what: 'a captured request with another CSR', refused: altered },
        { what: 'a captured request under another nonce', refused: otherNonce },
      ],
      how: 'refused by the master; without the proof no answer',
    };
  },
};

const expired: Attack = {
  name: 'expired token',
  async mount(arena) {
    const given = await token(arena, { ttlMs: 1_000 });
    const nonce = makeNonce();
    const early = await knock(arena, given.id, nonce);
    const connects = () => arena.loginCode(undefined, makeNonce(), { username: given.id });
    const code = await until('the token expires', async () => {
      const code = await connects();
      return code !== 0 && { code };
    });
    const keys = generateKeyPair();
    const message = requestOf(arena, given, nonce, { node: 'late', keys });
    early.publish(topics.joinRequest(given.id, nonce), encodeMessage(message));
    const result = await answerTo(early, given, nonce, keys);
    early.socket.destroy();
    return {
      attempts: [
        { what: 'a CONNECT with it', refused: code.code === 4 },
        attempt('a request on a connection from before', result),
      ],
      how: 'CONNACK 4; refused by the master',
    };
  },
};

const usedUp: Attack = {
  name: 'token used up',
  async mount(arena) {
    const given = await token(arena, { uses: 1 });
    const known = arena.fresh('joiner');
    await joinByHand(arena, known, given);
    const results = await Promise.all(
      [known, arena.fresh('joiner')].map(node => ask(arena, given, { node, keys: generateKeyPair() })),
    );
    const race = await token(arena, { uses: 1 });
    const both = await Promise.all(
      [1, 2, 3].map(() => arena.fresh('racer')).map(node => ask(arena, race, { node, keys: generateKeyPair() })),
    );
    const accepted = both.filter(result => result?.status === 'accepted').length;
    return {
      attempts: [
        attempt('again by the same node', results[0]),
        attempt('by another node', results[1]),
        { what: 'by three at once', refused: accepted === 1 },
      ],
      how: 'refused by the master',
    };
  },
};

const unknown: Attack = {
  name: 'unknown token',
  async mount(arena) {
    const codes = await Promise.all(
      ['0123456789ab', '', '../..', '#', "' or 1=1 --"].map(username =>
        arena.loginCode(undefined, makeNonce(), { username }),
      ),
    );
    return {
      attempts: codes.map(code => ({ what: `CONNACK ${code}`, refused: code !== 0 })),
      how: 'CONNACK 4',
    };
  },
};

const wrongSecret: Attack = {
  name: 'wrong secret',
  async mount(arena) {
    const given = await token(arena);
    const keys = generateKeyPair();
    const nonce = makeNonce();
    const secret = Buffer.alloc(32, 7).toString('base64url');
    const message = requestOf(arena, given, nonce, { node: 'guesser', keys, secret });
    const refused = await staysUnanswered(arena, given.id, nonce, message);
    presume(
      (await ask(arena, given, { node: arena.fresh('joiner'), keys }))?.status === 'accepted',
      'the right secret opens',
    );
    return { attempts: [{ what: 'a proof by another secret', refused }], how: 'no answer, an event for the operator' };
  },
};

const anotherId: Attack = {
  name: 'CSR for another id',
  async mount(arena) {
    const uris = ['/node/pi-1', '/master', '/config', '/ns/default/sa/hello'].map(
      path => `spiffe://${arena.trustDomain}${path}`,
    );
    const attempts: Attempt[] = [];
    for (const uri of [...uris, 'spiffe://elsewhere/node/mallet']) {
      const keys = generateKeyPair();
      const result = await ask(arena, await token(arena), { node: 'mallet', keys, csr: createRequest(uri, keys) });
      attempts.push(attempt(uri, result));
    }
    const keys = generateKeyPair();
    const asVictim = await ask(arena, await token(arena), { node: 'pi-1', keys });
    attempts.push(attempt('the name of a node that has joined', asVictim));
    return { attempts, how: 'refused by the master' };
  },
};

const oddRequests: Attack = {
  name: 'CSR with extra SANs or CA:TRUE',
  async mount(arena) {
    const uri = uriOf(arena, 'odd');
    const own = { kind: 'uri', value: uri } as const;
    const authority = oddExtension(extensionOids.basicConstraints, encodeDer(sequence(boolean(true))), true);
    const signsOthers = oddExtension(extensionOids.keyUsage, encodeDer(bitString(Buffer.of(0x04), 2)), true);
    const wishes: readonly (readonly [string, readonly DerValue[]])[] = [
      ['a second URI', [encodeNames([own, { kind: 'uri', value: uriOf(arena, 'pi-1') }], true)]],
      ['a DNS name', [encodeNames([own, { kind: 'dns', value: 'localhost' }], true)]],
      ['CA:TRUE', [encodeNames([own], true), authority]],
      ['keyCertSign', [encodeNames([own], true), signsOthers]],
    ];
    const attempts: Attempt[] = [];
    for (const [what, extensions] of wishes) {
      const keys = generateKeyPair();
      const csr = oddRequest(keys, extensions);
      attempts.push(attempt(what, await ask(arena, await token(arena), { node: 'odd', keys, csr })));
    }
    return { attempts, how: 'refused by the master' };
  },
};

/** A truly signed request with extensions of one's own choice. */
function oddRequest(keys: KeyPair, extensions: readonly DerValue[]): Buffer {
  const wish = sequence(oid('1.2.840.113549.1.9.14'), set(sequence(...extensions)));
  const spki = encoded(spkiOf(keys.publicKey));
  return encodeSigned(sequence(integer(Buffer.of(0)), sequence(), spki, element(0xa0, [wish])), keys.privateKey);
}

/** Attacks on the way in that are for the master to refuse, whatever broker is between. */
export const proofs: readonly Attack[] = [replay, usedUp, wrongSecret, anotherId, oddRequests];

/** Attacks on the way in. */
export const joins: readonly Attack[] = [...proofs, expired, unknown];
