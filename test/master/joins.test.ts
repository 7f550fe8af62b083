import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parseJoinString, printJoinString } from '../../src/identity/join-string.ts';
import { makeJoinToken } from '../../src/identity/token.ts';
import { type JoinGuard, joinGuardBounds, makeJoinGuard } from '../../src/master/join-guard.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { askToJoin, type JoinDoor, openDoor } from '../fixtures/join-door.ts';
import { makeFleet } from '../fixtures/wire.ts';

const fleet = makeFleet();

async function setUp(t: Test): Promise<{ door: JoinDoor; dir: string; board: (name: string) => string }> {
  const dir = t.testdir();
  const board = (name: string) => {
    const path = join(dir, name);
    mkdirSync(path, { recursive: true });
    return path;
  };
  return { door: await openDoor(t, dir, fleet), dir, board };
}

/** Waits until `look` sees something; the other side of the wire works meanwhile. */
async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const seen = await look();
    if (seen !== undefined) return seen;
    await new Promise(resolve => setImmediate(resolve));
  }
}

const waiting = (door: JoinDoor) => until(async () => (await door.store.joinRequests.list(0))[0]);
const kindsOf = async (door: JoinDoor) => (await door.events.query({ limit: 100 })).map(event => event.kind);

t.test('a node waits until an operator lets it in, with the key that it shows', async t => {
  const { door, board } = await setUp(t);
  const asked = askToJoin(board('a'), await door.token({ approve: true }), { labels: { zone: 'a' } });
  const request = await waiting(door);
  t.match(request, { state: 'pending', node: 'pi-1', profile: 'raspberry-pi-4', labels: { zone: 'a' } });
  t.match(request.keyPin, new RegExp(`^${request.id}`));
  t.same(door.joined, []);
  await door.store.joinRequests.decide(request.id, { state: 'approved', reason: null });
  t.match(await asked, { node: 'pi-1', trustDomain: 'test.mesh' });
  t.same(door.joined, ['pi-1']);
  t.same(await door.store.joinRequests.list(0), [], 'and waits no more');
  t.equal((await door.store.joinTokens.get(request.tokenId))?.used, 1);
  t.same(await kindsOf(door), ['join-pending', 'node-joined']);
  await t.rejects(door.store.joinRequests.decide(request.id, { state: 'approved', reason: null }), {
    code: 'NOT_FOUND',
  });
});

t.test('a node that is denied hears why, and is not let in by asking again', async t => {
  const { door, board } = await setUp(t);
  const token = await door.token({ approve: true });
  const asked = askToJoin(board('a'), token);
  const { id } = await waiting(door);
  await door.store.joinRequests.decide(id, { state: 'denied', reason: 'not ours' });
  await t.rejects(asked, { code: 'FORBIDDEN', message: /an operator denied it: not ours/ });
  await t.rejects(askToJoin(board('a'), token), { code: 'FORBIDDEN', message: /not ours/ });
  await t.rejects(door.store.joinRequests.decide(id, { state: 'approved', reason: null }), { code: 'CONFLICT' });
  t.same(door.joined, []);
});

t.test('who waits is still known after both sides have started again', async t => {
  const { door, dir, board } = await setUp(t);
  const token = await door.token({ approve: true });
  const power = new AbortController();
  const asked = askToJoin(board('a'), token, { signal: power.signal });
  const request = await waiting(door);
  power.abort();
  await t.rejects(asked);
  await door.stop();

  const next = await openDoor(t, dir, fleet);
  t.match(await next.store.joinRequests.list(0), [{ id: request.id, state: 'pending' }]);
  await next.store.joinRequests.decide(request.id, { state: 'approved', reason: null });
  const { port } = parseJoinString(await next.token()).addresses[0] ?? { port: 0 };
  const moved = printJoinString({ ...parseJoinString(token), addresses: [{ host: '127.0.0.1', port }] });
  t.match(await askToJoin(board('a'), moved), { node: 'pi-1' }, 'with the same key');
  t.same(next.joined, ['pi-1']);
});

t.test('an answer that was lost in a power cut is given again', async t => {
  const { door, board } = await setUp(t);
  const token = await door.token({ approve: true });
  const asked = askToJoin(board('a'), token);
  const { id } = await waiting(door);
  cpSync(board('a'), board('before the answer'), { recursive: true });
  await door.store.joinRequests.decide(id, { state: 'approved', reason: null });
  const first = await asked;
  const second = await askToJoin(board('before the answer'), token);
  t.same([second.keyPem, second.chainPem], [first.keyPem, first.chainPem]);
  t.equal(door.joined.length, 1);
  await t.rejects(askToJoin(board('other'), token), { message: /used 1 of 1 times/ });
});

t.test('what a crash has cut short of a join is done when the node asks again', async t => {
  const dir = t.testdir();
  let isBroken = true;
  const door = await openDoor(t, dir, fleet, async () => {
    if (isBroken) throw new Error('the power is cut: the store has the join, the book has not');
  });
  mkdirSync(join(dir, 'a'));
  const asked = askToJoin(join(dir, 'a'), await door.token());
  await until(async () => (await door.store.nodes.list())[0]);
  t.same(door.joined, []);
  isBroken = false;
  t.match(await asked, { node: 'pi-1' });
  t.same(door.joined, ['pi-1']);
  t.match(await door.book.list({ all: true }), [{ kind: 'node', node: 'pi-1', state: 'valid' }]);
});

t.test('one that was revoked comes back by a token that was made for it, and with another key', async t => {
  const { door, board } = await setUp(t);
  const many = await door.token({ uses: 9 });
  await askToJoin(board('a'), many);
  await door.book.revoke({ node: 'pi-1' });
  t.ok(door.book.isCutOff('pi-1'));
  await t.rejects(askToJoin(board('thief'), many), {
    code: 'FORBIDDEN',
    message: /was revoked: make a token with --node/,
  });
  t.match(await askToJoin(board('a'), await door.token({ node: 'pi-1' })), { node: 'pi-1' });
  t.notOk(door.book.isCutOff('pi-1'));
});

t.test('a token for some boards refuses the others, and says why', async t => {
  const { door, board } = await setUp(t);
  const token = await door.token({ profile: 'raspberry-pi-5', requires: { zone: 'a' }, uses: 2 });
  const ask = (asking: object) => askToJoin(board('a'), token, asking);
  await t.rejects(ask({}), { code: 'FORBIDDEN', message: /profile raspberry-pi-5, this one is raspberry-pi-4/ });
  await t.rejects(ask({ profile: 'raspberry-pi-5' }), { code: 'FORBIDDEN', message: /with the label zone=a/ });
  await t.rejects(ask({ profile: 'raspberry-pi-5', labels: { zone: 'b' } }), { message: /zone=a/ });
  t.match(await ask({ profile: 'raspberry-pi-5', labels: { zone: 'a' } }), { node: 'pi-1' });
  const [refusal] = await door.events.query({ kind: 'join-refused', limit: 10 });
  t.match(refusal, { node: null, message: /pi-1, token [0-9a-f]{12}: the token is for boards/ });
  await t.rejects(askToJoin(board('a'), await door.token({ node: 'pi-9' })), {
    message: /pi-9, this one is called pi-1/,
  });
});

t.test('who does not have the secret gets no answer, costs no use and keeps nobody out for long', async t => {
  const { door, board } = await setUp(t);
  const token = await door.token();
  const thief = printJoinString({ ...parseJoinString(token), secret: makeJoinToken().secret });
  await t.rejects(askToJoin(board('thief'), thief), { code: 'TIMED_OUT' });
  t.equal((await door.store.joinTokens.get(parseJoinString(token).id))?.used, 0);
  const kinds = await kindsOf(door);
  t.ok(kinds.includes('join-refused') && kinds.includes('join-locked'), 'after 10 of its 12 requests');
  await door.clock.advance(joinGuardBounds.lockedMs);
  t.match(await askToJoin(board('a'), token), { node: 'pi-1' });
});

t.test('a revoked or expired token lets nobody in', async t => {
  const { door, board } = await setUp(t);
  const revoked = await door.token({ approve: true });
  const power = new AbortController();
  const asked = askToJoin(board('a'), revoked, { signal: power.signal });
  await waiting(door);
  await door.desk.revoke(parseJoinString(revoked).id);
  t.same(await door.store.joinRequests.list(0), [], 'those who wait for it are forgotten');
  power.abort();
  await t.rejects(asked);
  await t.rejects(door.desk.revoke(parseJoinString(revoked).id), { code: 'NOT_FOUND' });

  const short = await door.token({ ttlMs: 1_000 });
  await door.clock.advance(1_000);
  await t.rejects(askToJoin(board('b'), short), { code: 'FORBIDDEN', message: /has expired/ });
  t.match(await door.desk.list(), [{ id: parseJoinString(short).id, state: 'expired' }]);
});

t.test('too many wrong proofs lock a token for a while, and only that one', t => {
  const clock = new FakeClock();
  const guard: JoinGuard = makeJoinGuard({ clock });
  const wrong = (times: number) => Array.from({ length: times }, () => guard.onWrongProof('a'));
  t.same(wrong(joinGuardBounds.wrongProofs - 1).includes(true), false);
  t.equal(guard.isLocked('a'), false);
  t.equal(guard.onWrongProof('a'), true);
  t.equal(guard.isLocked('a'), true);
  t.equal(guard.isLocked('b'), false);
  return clock.advance(joinGuardBounds.lockedMs).then(async () => {
    t.equal(guard.isLocked('a'), false);
    wrong(joinGuardBounds.wrongProofs - 1);
    await clock.advance(joinGuardBounds.withinMs);
    t.equal(guard.onWrongProof('a'), false, 'those of long ago do not count');
  });
});
