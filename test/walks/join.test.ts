/** Walk 5: a token becomes a certificate, once, for whom it is meant, and from the master that it names alone. */
import { once } from 'node:events';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import t, { type Test } from 'tap';
import type { Clock } from '../../src/base/clock.ts';
import { systemClock } from '../../src/device/clock.ts';
import { readCertificates } from '../../src/identity/certificate.ts';
import { parseJoinString, printJoinString } from '../../src/identity/join-string.ts';
import { makeJoinToken } from '../../src/identity/token.ts';
import { joinAgent, makeHome, masterConfig, runMaster, trustDomain, untilReady } from '../fixtures/fleet.ts';
import { joinAs } from '../fixtures/fleet-join.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { Relay } from '../fixtures/fleet-relay.ts';
import { until } from '../fixtures/fleet-until.ts';
import { makeTestAuthority, type TestIdentity } from '../fixtures/test-authority.ts';

const home = makeHome(t);
const ports = new FreePorts();
/** The master's clock may be put forward. */
let aheadMs = 0;
const clock: Clock = { ...systemClock, now: () => systemClock.now() + aheadMs };
const master = await runMaster(t, await masterConfig(join(home, 'master'), ports), clock);
const { api, log } = master;

interface Attempt {
  readonly joinString: string;
  readonly node: string;
  readonly signal?: AbortSignal;
}

function attempt(t: Test, { joinString, node, signal }: Attempt) {
  const controller = new AbortController();
  t.teardown(() => controller.abort());
  return joinAs(joinString, node, signal ?? controller.signal);
}

t.test('a token becomes a certificate for this node, and nothing of it is left in a log', async t => {
  const agent = await joinAgent(t, master, { dataDir: join(home, 'first'), node: 'first' }, ports);
  await untilReady(api, 'first');
  t.match(log.all('a node joined'), [{ fields: { node: 'first', repeated: false } }]);
  const { secret } = parseJoinString(agent.config.join ?? '');
  for (const { entries } of [log, agent.log]) t.notMatch(JSON.stringify(entries), secret);

  const identity = await attempt(t, { joinString: await api.joinString(), node: 'second' });
  const [leaf] = readCertificates(identity.chainPem, 'chain');
  t.equal(leaf?.subject, 'CN=second');
  t.equal(leaf?.subjectAltName, `URI:spiffe://${trustDomain}/node/second`);
  t.strictSame(
    (await api.nodes()).map(({ node }) => node),
    ['first'],
    'a node is seen when it has introduced itself',
  );
});

t.test('a token that is used up lets nobody else in', async t => {
  const joinString = await api.joinString({ uses: 2 });
  await attempt(t, { joinString, node: 'third' });
  await attempt(t, { joinString, node: 'fourth' });
  const refused = { code: 'FORBIDDEN', message: /has been used 2 of 2 times/ };
  await t.rejects(attempt(t, { joinString, node: 'fifth' }), refused);
});

t.test('a token for one node is of no use to another', async t => {
  const joinString = await api.joinString({ node: 'meant' });
  await t.rejects(attempt(t, { joinString, node: 'other' }), { code: 'FORBIDDEN', message: /is for node meant/ });
  await attempt(t, { joinString, node: 'meant' });
});

t.test('a name that is taken is given away only by a token that was made for it', async t => {
  await attempt(t, { joinString: await api.joinString(), node: 'taken' });
  const refused = { code: 'FORBIDDEN', message: /node taken has joined with another key/ };
  await t.rejects(attempt(t, { joinString: await api.joinString(), node: 'taken' }), refused);
  await attempt(t, { joinString: await api.joinString({ node: 'taken' }), node: 'taken' });
});

t.test('a token that nobody knows, or whose time is over, does not open a session', async t => {
  const known = parseJoinString(await api.joinString({ ttlMs: 60_000 }));
  const unknown = printJoinString({ ...known, ...makeJoinToken() });
  await t.rejects(attempt(t, { joinString: unknown, node: 'nobody' }), { code: 'FORBIDDEN' });
  aheadMs = 61_000;
  t.teardown(() => {
    aheadMs = 0;
  });
  await t.rejects(attempt(t, { joinString: printJoinString(known), node: 'late' }), { code: 'FORBIDDEN' });
});

t.test('who does not have the secret gets no answer, and uses nothing up', async t => {
  const good = parseJoinString(await api.joinString());
  const controller = new AbortController();
  const guess = printJoinString({ ...good, secret: makeJoinToken().secret });
  const guessing = attempt(t, { joinString: guess, node: 'guesser', signal: controller.signal });
  const refused = t.rejects(guessing, { code: /UNAVAILABLE|TIMED_OUT/ });
  await until('the master has heard it', () => log.all('a join request did not prove its token').length > 0);
  controller.abort();
  await refused;
  t.strictSame(log.all('a node joined', { node: 'guesser' }), []);
  await attempt(t, { joinString: printJoinString(good), node: 'owner' });
});

t.test('an answer that is lost is given again to the same key, and counts once', async t => {
  const relay = await Relay.open(t, master.config.mqttPort);
  const stop = log.listen(({ sentence, fields }) => {
    // the answer is about to be sent
    if (sentence === 'a node joined' && fields.node === 'unlucky' && fields.repeated === false) relay.cut();
  });
  t.teardown(stop);
  const joinString = relay.joinString(await api.joinString());
  const identity = await attempt(t, { joinString, node: 'unlucky' });
  const joins = log.all('a node joined', { node: 'unlucky' }).map(({ fields }) => fields.repeated);
  t.strictSame(joins, [false, true]);
  const [leaf] = readCertificates(identity.chainPem, 'chain');
  t.equal(leaf?.subject, 'CN=unlucky');
  await t.rejects(attempt(t, { joinString, node: 'unlucky' }), { code: 'FORBIDDEN' }, 'another key is another node');
});

t.test('a master of another root hears not one byte of the join', async t => {
  const rogue = await listenAs(t, makeTestAuthority(Date.now(), { trustDomain }).server(['127.0.0.1']));
  const joinString = rogue.joinString(await api.joinString());
  await t.rejects(attempt(t, { joinString, node: 'victim' }), { code: 'UNTRUSTED' });
  await until('it has gone', () => rogue.connections === 1 && rogue.open === 0);
  t.equal(rogue.bytes, 0);
  t.strictSame(log.all('a node joined', { node: 'victim' }), []);
});

t.test('a node of the fleet cannot pose as its master', async t => {
  const { keyPem, chainPem, roots } = await attempt(t, { joinString: await api.joinString(), node: 'traitor' });
  const rogue = await listenAs(t, { keyPem, chainPem: chainPem + roots.join('') });
  const joinString = rogue.joinString(await api.joinString());
  await t.rejects(attempt(t, { joinString, node: 'victim' }), { code: 'UNTRUSTED' });
  await until('it has gone', () => rogue.connections === 1 && rogue.open === 0);
  t.equal(rogue.bytes, 0);
});

/** A TLS server that counts what it is told. */
async function listenAs(t: Test, { keyPem, chainPem }: Pick<TestIdentity, 'keyPem' | 'chainPem'>) {
  const server = createServer({ key: keyPem, cert: chainPem });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const heard = {
    connections: 0,
    open: 0,
    /** Of what was said inside of TLS. */
    bytes: 0,
    joinString: (joinString: string) =>
      printJoinString({ ...parseJoinString(joinString), addresses: [{ host: '127.0.0.1', port }] }),
  };
  server.on('connection', socket => {
    heard.connections++;
    heard.open++;
    socket.on('close', () => heard.open--);
  });
  server.on('tlsClientError', () => {});
  server.on('secureConnection', socket => {
    socket.on('data', chunk => {
      heard.bytes += chunk.length;
    });
    socket.on('error', () => {});
  });
  return heard;
}
