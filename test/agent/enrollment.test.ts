import t, { type Test } from 'tap';
import { enroll } from '../../src/agent/enrollment.ts';
import { secondMs } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { seededRandom } from '../../src/base/random.ts';
import { type JoinString, printJoinString } from '../../src/identity/join-string.ts';
import { generateKeyPair } from '../../src/identity/keys.ts';
import { deriveJoinKey, joinResponseMac, makeJoinToken } from '../../src/identity/token.ts';
import { LocalLink } from '../../src/link/local-link.ts';
import { readProxyRules } from '../../src/link/proxy-rules.ts';
import { encodeMessage, type JoinResult } from '../../src/model/message.ts';
import { parseTopic, topics } from '../../src/model/topics.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { makeFleet, startBroker, trustDomain } from '../fixtures/wire.ts';

const fleet = makeFleet();
const { authority } = fleet.authority;

/** The clock of a board that has joined no master yet. */
class BoardClock extends FakeClock {
  readonly known = true;
  setTime(): void {}
}

/** A request to join that came through the broker, and ways to answer it. */
interface Request {
  readonly csr: Buffer;
  /** Answers as who holds the token's secret does, whatever it says. */
  say(result: JoinResult): Promise<void>;
  sayRaw(payload: Uint8Array): Promise<void>;
}

/** A real broker that knows one token, and behind it a master that answers as the test wants. */
async function openDoor(t: Test) {
  const clock = new BoardClock(Date.now());
  const log = new CapturedLog();
  const token = makeJoinToken();
  const { broker, port, events } = await startBroker(t, fleet, {}, { knowsToken: async id => id === token.id });
  const link = new LocalLink({ port: broker, log: silentLog });
  const ended = new AbortController();
  t.teardown(() => ended.abort());
  await link.start(ended.signal);
  const door = { answer: async (_: Request): Promise<void> => {}, requests: 0 };
  let onRequest = () => {};
  link.subscribe(topics.allJoinRequests, (topic, payload) => {
    door.requests++;
    void door.answer(readRequest(topic, payload)).then(() => onRequest());
  });

  function readRequest(topic: string, payload: Uint8Array): Request {
    const address = parseTopic(topic);
    if (address?.kind !== 'join') throw new Error(`unexpected topic ${topic}`);
    const { node, csr: written } = JSON.parse(JSON.parse(Buffer.from(payload).toString()).body);
    const csr = Buffer.from(written, 'base64');
    const { keyId } = authority.issueNode(csr, node, clock.now());
    const sayRaw = (answer: Uint8Array) =>
      link.publish(topics.joinResponse(address.tokenId, address.nonce), answer, { qos: 1 });
    const say = (result: JoinResult) => {
      const body = JSON.stringify(result);
      const mac = joinResponseMac(deriveJoinKey(token.secret), address.nonce, keyId, body);
      return sayRaw(encodeMessage({ v: 1, body, mac }));
    };
    return { csr, say, sayRaw };
  }

  /** Resolves when so many requests have been dealt with. */
  const heard = async (count: number) => {
    while (door.requests < count) {
      await new Promise<void>(resolve => {
        onRequest = resolve;
      });
    }
  };
  const addresses = [{ host: '127.0.0.1', port }];
  const join = async (changes: Partial<JoinString> = {}, signal = new AbortController().signal) => {
    const parts = { clock, random: seededRandom(1), log, proxyFor: readProxyRules({}) };
    const joinString = printJoinString({ ...token, addresses, rootSha256: authority.rootSha256, ...changes });
    const request = { join: joinString, node: 'pi-1', labels: {}, profile: 'board', keys: generateKeyPair() };
    return enroll(parts, request, signal);
  };
  return { clock, log, door, heard, join, events, addresses };
}

const accepted = (csr: Buffer, changes: object = {}): JoinResult => ({
  status: 'accepted',
  trustDomain,
  chain: authority.issueNode(csr, 'pi-1', Date.now()).chainPem,
  roots: [...authority.roots],
  signers: [...authority.signers],
  time: Date.now(),
  ...changes,
});

t.test('a node that is let in knows who it is, whom to believe and where the master is', async t => {
  const { join, door, addresses } = await openDoor(t);
  door.answer = ({ csr, say }) => say(accepted(csr));
  const identity = await join();
  t.match(identity, { node: 'pi-1', trustDomain, masters: addresses, keyPem: /PRIVATE KEY/ });
  t.same(identity.roots, authority.roots);
  t.same(identity.signers, authority.signers);
  t.equal(Buffer.from(identity.taskSecret, 'base64url').length, 32);
});

t.test('a master with another root is refused before it hears a word', async t => {
  const { join, events, door } = await openDoor(t);
  await t.rejects(join({ rootSha256: '0'.repeat(64) }), { code: 'UNTRUSTED' });
  t.equal(door.requests, 0);
  t.notOk(JSON.stringify(events).includes('"join"'), 'not even the id of the token was said');
});

t.test('a token that the broker does not know is refused at once', async t => {
  const { join } = await openDoor(t);
  await t.rejects(join(makeJoinToken()), { code: 'FORBIDDEN', message: /has expired, is used up or was revoked/ });
});

t.test('a refusal is final, and says why', async t => {
  const { join, door } = await openDoor(t);
  door.answer = ({ say }) => say({ status: 'refused', reason: 'the token is for node pi-9' });
  await t.rejects(join(), { code: 'FORBIDDEN', message: 'the master refuses: the token is for node pi-9' });
  t.equal(door.requests, 1);
});

t.test('a request without an answer is made again, and given up in the end', async t => {
  const { join, heard, clock, door } = await openDoor(t);
  const joining = t.rejects(join(), { code: 'TIMED_OUT', message: /is the token right/ });
  for (let request = 1; request <= 12; request++) {
    await heard(request);
    await clock.advance(5 * secondMs);
  }
  await joining;
  t.equal(door.requests, 12);
});

t.test('an answer that the token’s secret does not prove is none', async t => {
  const { join, door } = await openDoor(t);
  door.answer = async ({ csr, say, sayRaw }) => {
    const body = JSON.stringify({ status: 'refused', reason: 'go away' });
    await sayRaw(encodeMessage({ v: 1, body, mac: 'A'.repeat(43) }));
    await sayRaw(Buffer.from('no JSON'));
    await say(accepted(csr));
  };
  t.match(await join(), { node: 'pi-1' });
});

t.test('a certificate for somebody else, for another key or by another root is not taken', async t => {
  const { join, door } = await openDoor(t);
  const stranger = makeFleet();
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ roots: [...stranger.authority.authority.roots] }, /other roots/],
    [{ chain: stranger.nodes.a.chainPem }, /does not hold/],
    [{ chain: fleet.nodes.a.chainPem }, /for somebody else/],
    [{ chain: fleet.authority.node('pi-1').chainPem }, /for somebody else/],
  ];
  for (const [changes, message] of wrong) {
    door.answer = ({ csr, say }) => say(accepted(csr, changes));
    await t.rejects(join(), { code: 'UNTRUSTED', message });
  }
});

t.test('a join that waits for an operator is asked for again, for longer than one without an answer', async t => {
  const { join, door, log, clock } = await openDoor(t);
  door.answer = ({ csr, say }) => say(door.requests < 20 ? { status: 'pending', retryAfterMs: 60_000 } : accepted(csr));
  const stopListening = log.listen(({ sentence }) => {
    // it goes to sleep in the same breath
    if (sentence === 'the join waits for an operator') setImmediate(() => void clock.advance(60 * secondMs));
  });
  t.teardown(stopListening);
  t.match(await join(), { node: 'pi-1' });
  t.equal(door.requests, 20);
});

t.test('who is told to stop stops', async t => {
  const { join, heard } = await openDoor(t);
  const stop = new AbortController();
  const joining = t.rejects(join({}, stop.signal));
  await heard(1);
  stop.abort();
  await joining;
});
