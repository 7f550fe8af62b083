import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { enroll } from '../../src/agent/enrollment.ts';
import { secondMs } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { seededRandom } from '../../src/base/random.ts';
import { parseJoinString, printJoinString } from '../../src/identity/join-string.ts';
import { deriveJoinKey, joinResponseMac, makeJoinToken } from '../../src/identity/token.ts';
import { LocalLink } from '../../src/link/local-link.ts';
import { makeEnrollment } from '../../src/master/enrollment.ts';
import { createJoinToken } from '../../src/master/join-tokens.ts';
import type { CreateTokenRequest } from '../../src/model/api.ts';
import { encodeMessage, type JoinResult } from '../../src/model/message.ts';
import { parseTopic, topics } from '../../src/model/topics.ts';
import { openStore } from '../../src/store/store.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { makeFleet, startBroker, trustDomain } from '../fixtures/wire.ts';

const fleet = makeFleet();
const { authority } = fleet.authority;

type Handler = (topic: string, payload: Uint8Array) => Promise<void>;

/** A master's door: a real broker, and behind it the master's part unless the test answers in its place. */
async function openDoor(t: Test) {
  const clock = new FakeClock(Date.now());
  const log = new CapturedLog();
  const store = await openStore({ path: join(t.testdir(), 'store.db') });
  t.teardown(() => store.close());
  const knowsToken = async (id: string) => (await store.joinTokens.get(id)) !== undefined;
  const { broker, port, events } = await startBroker(t, fleet, {}, { knowsToken });
  const link = new LocalLink({ port: broker, log: silentLog });
  const ended = new AbortController();
  t.teardown(() => ended.abort());
  await link.start(ended.signal);
  const parts = { tokens: store.joinTokens, authority, link, clock, log: silentLog, onJoined: async () => {} };
  const enrollment = makeEnrollment(parts);
  const door = { answer: ((topic, payload) => enrollment.handle(topic, payload)) as Handler, requests: 0 };
  let onRequest = () => {};
  link.subscribe(topics.allJoinRequests, (topic, payload) => {
    door.requests++;
    void door.answer(topic, Uint8Array.from(payload)).then(() => onRequest());
  });
  /** Resolves when so many requests have been dealt with. */
  const heard = async (count: number) => {
    while (door.requests < count) {
      await new Promise<void>(resolve => {
        onRequest = resolve;
      });
    }
  };
  const token = (request: Partial<CreateTokenRequest> = {}) =>
    createJoinToken(
      { tokens: store.joinTokens, authority, clock },
      { uses: 1, ttlMs: 3_600_000, labels: {}, ...request },
      { hosts: ['127.0.0.1'], port },
    );
  const joinAs = (node: string, joinString: string, signal = new AbortController().signal) =>
    enroll({ clock, random: seededRandom(1), log }, { join: joinString, node, labels: {} }, signal);
  /** What the master would send, over the right MAC, whatever it says. */
  const say = async (topic: string, payload: Uint8Array, joinString: string, result: (csr: Buffer) => JoinResult) => {
    const address = parseTopic(topic);
    if (address?.kind !== 'join') throw new Error(`unexpected topic ${topic}`);
    const request = JSON.parse(JSON.parse(Buffer.from(payload).toString()).body);
    const csr = Buffer.from(request.csr, 'base64');
    const body = JSON.stringify(result(csr));
    const { keyId } = authority.issueNode(csr, request.node, clock.now());
    const key = deriveJoinKey(parseJoinString(joinString).secret);
    const mac = joinResponseMac(key, address.nonce, keyId, body);
    const message = encodeMessage({ v: 1, body, mac });
    await link.publish(topics.joinResponse(address.tokenId, address.nonce), message, { qos: 1 });
  };
  return { clock, log, store, door, heard, link, token, joinAs, say, events, port };
}

const accepted = (csr: Buffer, node: string, more: object = {}): JoinResult => ({
  status: 'accepted',
  trustDomain,
  chain: authority.issueNode(csr, node, Date.now()).chainPem,
  roots: [authority.rootPem],
  signers: [authority.configPem],
  time: 1,
  ...more,
});

t.test('a node joins with a join string: it gets a certificate for a key of its own', async t => {
  const { token, joinAs, store } = await openDoor(t);
  const { join: joinString } = await token({ labels: { zone: 'roof' } });
  const identity = await joinAs('pi-1', joinString);
  t.match(identity, { node: 'pi-1', trustDomain, roots: [authority.rootPem], signers: [authority.configPem] });
  t.same(identity.masters, parseJoinString(joinString).addresses);
  t.equal(new X509Certificate(identity.chainPem).subjectAltName, `URI:spiffe://${trustDomain}/node/pi-1`);
  t.equal(Buffer.from(identity.taskSecret, 'base64url').length, 32);
  t.match(await store.nodes.get('pi-1'), { labels: { zone: 'roof' }, state: 'joined' });
});

t.test('a master with another root is refused before it hears a word', async t => {
  const { token, joinAs, events, door } = await openDoor(t);
  const { join: joinString } = await token();
  const forged = printJoinString({ ...parseJoinString(joinString), rootSha256: '0'.repeat(64) });
  await t.rejects(joinAs('pi-1', forged), { code: 'UNTRUSTED' });
  t.equal(door.requests, 0);
  t.notOk(JSON.stringify(events).includes('"join"'), 'no session, so not even the id of the token was said');
});

t.test('a token that nobody made, or that is used up, is refused with the reason', async t => {
  const { token, joinAs, port } = await openDoor(t);
  const unknown = { ...makeJoinToken(), rootSha256: authority.rootSha256, addresses: [{ host: '127.0.0.1', port }] };
  await t.rejects(joinAs('pi-1', printJoinString(unknown)), { code: 'FORBIDDEN', message: /does not know this user/ });
  const { join: joinString } = await token();
  await joinAs('pi-1', joinString);
  await t.rejects(joinAs('pi-2', joinString), { code: 'FORBIDDEN', message: /used 1 of 1 times/ });
  const { join: bound } = await token({ node: 'pi-9' });
  await t.rejects(joinAs('pi-3', bound), { code: 'FORBIDDEN', message: /the token is for node pi-9/ });
});

t.test('an answer that is lost is asked for again, and is the same', async t => {
  const { token, joinAs, door, heard, clock, store } = await openDoor(t);
  const { join: joinString, id } = await token();
  const { answer } = door;
  door.answer = async () => {};
  const joining = joinAs('pi-1', joinString);
  await heard(1);
  door.answer = answer;
  await clock.advance(5 * secondMs);
  t.match(await joining, { node: 'pi-1' });
  t.equal((await store.joinTokens.joins(id)).length, 1);
});

t.test('who does not hold the secret gets no answer, and gives up in the end', async t => {
  const { token, joinAs, heard, clock } = await openDoor(t);
  const { join: joinString } = await token();
  const forged = printJoinString({ ...parseJoinString(joinString), secret: makeJoinToken().secret });
  const joining = t.rejects(joinAs('pi-1', forged), { code: 'TIMED_OUT', message: /is the token right/ });
  for (let request = 1; request <= 12; request++) {
    await heard(request);
    await clock.advance(5 * secondMs);
  }
  await joining;
});

t.test('an answer that the token’s secret does not prove is not one', async t => {
  const { token, joinAs, door, link } = await openDoor(t);
  const { join: joinString } = await token();
  const { answer } = door;
  door.answer = async (topic, payload) => {
    const address = parseTopic(topic);
    if (address?.kind !== 'join') return;
    const forged = { v: 1, body: JSON.stringify({ status: 'refused', reason: 'go away' }), mac: 'A'.repeat(43) };
    const response = topics.joinResponse(address.tokenId, address.nonce);
    await link.publish(response, encodeMessage(forged), { qos: 1 });
    await link.publish(response, Buffer.from('no JSON'), { qos: 1 });
    await answer(topic, payload);
  };
  t.match(await joinAs('pi-1', joinString), { node: 'pi-1' });
});

t.test('a certificate for somebody else, another key or by another root is not taken', async t => {
  const { token, joinAs, door, say } = await openDoor(t);
  const stranger = makeFleet();
  const wrong: readonly (readonly [(csr: Buffer) => JoinResult, RegExp])[] = [
    [csr => accepted(csr, 'pi-1', { roots: [stranger.authority.authority.rootPem] }), /other roots/],
    [csr => accepted(csr, 'pi-1', { chain: stranger.nodes.a.chainPem }), /does not hold/],
    [csr => accepted(csr, 'pi-1', { chain: fleet.nodes.a.chainPem }), /for somebody else/],
    [csr => accepted(csr, 'pi-1', { chain: fleet.authority.node('pi-1').chainPem }), /for somebody else/],
  ];
  for (const [result, message] of wrong) {
    const { join: joinString } = await token();
    door.answer = (topic, payload) => say(topic, payload, joinString, result);
    await t.rejects(joinAs('pi-1', joinString), { code: 'UNTRUSTED', message });
  }
});

t.test('a join that an operator must approve is asked for again until it is', async t => {
  const { token, joinAs, door, say, clock, log } = await openDoor(t);
  const { join: joinString } = await token();
  door.answer = (topic, payload) =>
    say(topic, payload, joinString, csr =>
      door.requests < 20 ? { status: 'pending', retryAfterMs: 60_000 } : accepted(csr, 'pi-1'),
    );
  const stopListening = log.listen(({ sentence }) => {
    // it goes to sleep in the same breath
    if (sentence === 'the join waits for an operator') setImmediate(() => void clock.advance(60 * secondMs));
  });
  t.teardown(stopListening);
  t.match(await joinAs('pi-1', joinString), { node: 'pi-1' }, 'and longer than for an answer that does not come');
});

t.test('who is told to stop stops', async t => {
  const { token, joinAs, door, heard } = await openDoor(t);
  const { join: joinString } = await token();
  door.answer = async () => {};
  const stop = new AbortController();
  const joining = t.rejects(joinAs('pi-1', joinString, stop.signal));
  await heard(1);
  stop.abort();
  await joining;
});
