import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makeSignedInbox } from '../../src/agent/signed-inbox.ts';
import { dayMs, minuteMs } from '../../src/base/clock.ts';
import { type Files, openFiles } from '../../src/device/files.ts';
import { AgentWords } from '../fixtures/agent-words.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { makeSignedWords } from '../fixtures/signed-words.ts';

const clock = new FakeClock();
const { seal, verify } = makeSignedWords(clock);
const stranger = makeSignedWords(clock);

const policy = (revision: number, body: unknown = `policy ${revision}`, more = {}) =>
  seal('policy', 'all', revision, body, more);

/** An inbox over the files of `directory`, as after a start of the agent. */
async function open(t: Test, directory = t.testdir(), { now = clock, wrap = (files: Files): Files => files } = {}) {
  const words = new AgentWords({ clock: now });
  const log = new CapturedLog();
  const taken: unknown[] = [];
  const slot = {
    kind: 'policy',
    subject: 'all',
    file: 'policy',
    take(body: unknown) {
      if (body === 'unusable') throw new Error('it cannot be compiled');
      taken.push(body);
    },
  } as const;
  const files = wrap(await openFiles(directory));
  const inbox = makeSignedInbox(
    { verify, files, clock: now, sender: words.sender, refusals: words.refusals, log },
    slot,
  );
  const acks = () => words.take('ack').map(({ revision, reason }) => [revision, reason]);
  return { directory, inbox, taken, acks, log };
}

t.test('a newer document replaces an older one, and the master hears of it', async t => {
  const { inbox, taken, acks } = await open(t);
  await inbox.receive(policy(5));
  await inbox.receive(policy(6));
  t.same(taken, ['policy 5', 'policy 6']);
  t.equal(inbox.inForce?.revision, 6);
  t.same(acks(), [
    [5, undefined],
    [6, undefined],
  ]);
});

t.test('what may not be taken changes nothing and is reported with the reason', async t => {
  const { inbox, taken, acks } = await open(t);
  await inbox.receive(policy(5));
  acks();
  const changed = () => {
    const wire = Buffer.from(policy(7));
    wire[wire.length - 20] = 0x20;
    return wire;
  };
  const expired = () => policy(9, 'x', { expiresAt: clock.now() - 1, issuedAt: clock.now() - 10 });
  // of an envelope that is not to be believed the revision is not believed either
  const cases: readonly (readonly [string, () => Uint8Array, number, RegExp])[] = [
    ['unsigned', () => Buffer.from(JSON.stringify({ revision: 9 })), 0, /not signed/],
    ['changed on its way', changed, 0, /does not verify/],
    ['signed by another master', () => stranger.seal('policy', 'all', 9, 'x'), 0, /does not verify/],
    ['of another kind', () => seal('manifest', 'all', 9, 'x'), 0, /a manifest for all came as policy for all/],
    ['for somebody else', () => seal('policy', 'other', 9, 'x'), 0, /a policy for other came as policy for all/],
    ['older', () => policy(4), 4, /revision 4 is older than 5/],
    ['expired', expired, 9, /expired 1 ms ago/],
    ['not usable', () => policy(9, 'unusable'), 9, /it cannot be compiled/],
  ];
  for (const [name, wire, revision, reason] of cases) {
    // the same thing is reported once a minute
    await clock.advance(minuteMs);
    await inbox.receive(wire());
    const [ack, ...more] = acks();
    t.same(more, []);
    t.equal(ack?.[0], revision, name);
    t.match(ack?.[1], reason, name);
  }
  t.same(taken, ['policy 5']);
  t.equal(inbox.inForce?.revision, 5);
});

t.test('what was refused may come again in a better form', async t => {
  const { inbox, taken } = await open(t);
  await inbox.receive(policy(5, 'unusable'));
  await inbox.receive(policy(5, 'repaired'));
  t.same(taken, ['repaired']);
});

t.test('the last good document is in force again after a start, also when it has expired', async t => {
  const first = await open(t);
  await first.inbox.receive(policy(5));
  await first.inbox.receive(policy(6, 'unusable'));

  const later = new FakeClock(clock.now() + 90 * dayMs);
  const { inbox, taken, acks } = await open(t, first.directory, { now: later });
  await inbox.load();
  t.same(taken, ['policy 5']);
  t.equal(inbox.inForce?.revision, 5);
  t.same(acks(), [], 'nothing new was said');
  await inbox.receive(policy(4));
  t.match(acks()[0]?.[1], /older than 5/, 'and nothing older is taken after it');
});

t.test('the same revision is not taken anew; one that is good for a day longer is written', async t => {
  const { inbox, taken, directory, acks } = await open(t);
  const expiresAt = clock.now() + 1_000;
  const kept = async () => {
    const { inbox } = await open(t, directory);
    await inbox.load();
    return inbox.inForce?.expiresAt;
  };
  const receive = (at: number) => inbox.receive(policy(5, 'policy 5', { expiresAt: at }));
  await receive(expiresAt);
  await receive(expiresAt + dayMs - 1);
  t.equal(await kept(), expiresAt, 'a card lasts longer when it is written to seldom');
  await receive(expiresAt + dayMs);
  t.equal(await kept(), expiresAt + dayMs);
  await receive(expiresAt);
  t.equal(await kept(), expiresAt + dayMs, 'one that comes late does not count');
  t.same(taken, ['policy 5']);
  t.equal(acks().length, 4);
});

t.test('what is on the disk is verified, too; a damaged file does not keep the agent from starting', async t => {
  const { directory, inbox } = await open(t);
  await inbox.receive(policy(5));

  const files = await openFiles(directory);
  await files.write('policy', stranger.seal('policy', 'all', 6, 'forged'));
  const forged = await open(t, directory);
  await forged.inbox.load();
  t.same(forged.taken, []);
  t.match(forged.log.all('the stored document cannot be used'), [{ fields: { reason: /does not verify/ } }]);

  for (const name of readdirSync(directory)) writeFileSync(join(directory, name), 'no such thing');
  const damaged = await open(t, directory);
  await damaged.inbox.load();
  t.equal(damaged.inbox.inForce, undefined);
  t.match(damaged.log.all('the stored document cannot be used'), [{ fields: { reason: /damaged/ } }]);
  await damaged.inbox.receive(policy(5));
  t.same(damaged.taken, ['policy 5'], 'the master helps');
});

t.test('a disk that is full for a while: the document holds, and is written when it comes again', async t => {
  const disk = { isFull: true };
  const wrap = (files: Files): Files => ({
    read: name => files.read(name),
    list: () => files.list(),
    remove: name => files.remove(name),
    keepReserve: () => files.keepReserve(),
    async write(name, bytes) {
      if (disk.isFull) throw new Error('no space is left on the disk');
      await files.write(name, bytes);
    },
  });
  const { inbox, taken, acks, log, directory } = await open(t, t.testdir(), { wrap });
  await inbox.receive(policy(5));
  t.same(taken, ['policy 5']);
  t.same(acks(), [[5, undefined]], 'it is in force');
  t.match(log.all('a signed document is in force and could not be kept'), [{ fields: { reason: /no space/ } }]);
  disk.isFull = false;
  await inbox.receive(policy(5));
  const again = await open(t, directory);
  await again.inbox.load();
  t.equal(again.inbox.inForce?.revision, 5);
});

t.test('of many that come at once the newest is in force in the end, and not each between is worked on', async t => {
  const { inbox, taken, acks } = await open(t);
  await Promise.all(Array.from({ length: 50 }, (_, i) => inbox.receive(policy(i + 1))));
  t.same(taken, ['policy 1', 'policy 50']);
  t.same(acks(), [
    [1, undefined],
    [50, undefined],
  ]);
});
