/** Walk 4, with keys: a RequestAuthentication whose keys the master fetches is carried out by a node that needs no way to them. */
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { startEchoAndCaller } from '../fixtures/echo-and-caller.ts';
import { agentConfig, makeHome, masterConfig, runAgent, untilReady } from '../fixtures/fleet.ts';
import { openFleetApi, policyFor } from '../fixtures/fleet-api.ts';
import { callThrough } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { startMasterProcess } from '../fixtures/fleet-process.ts';
import { until } from '../fixtures/fleet-until.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';
import { inSeconds, makeIssuer, unsigned } from '../fixtures/tokens.ts';

const home = makeHome(t);
const ports = new FreePorts();

// the provider of identities, whose certificate only NODE_EXTRA_CA_CERTS makes believable
const provider = makeTestAuthority(Date.now(), { trustDomain: 'id.example' });
const { keyPem, chainPem } = provider.server(['localhost']);
const caFile = join(home, 'id-ca.pem');
writeFileSync(caFile, provider.authority.rootPem);
const issuer = makeIssuer('https://id.example');
const next = makeIssuer('https://id.example', 'k2');
let answer: { readonly status: number; readonly body: string } = { status: 500, body: 'secret words of a server' };
const asked: (string | undefined)[] = [];
const server = createServer({ key: keyPem, cert: chainPem }, (request, response) => {
  asked.push(request.url);
  response.writeHead(answer.status, { location: '/elsewhere' }).end(answer.body);
});
await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
t.teardown(() => server.close());
const jwksUri = `https://localhost:${(server.address() as AddressInfo).port}/keys?v=1`;

const config = await masterConfig(join(home, 'master'), ports);
const startMaster = () => startMasterProcess(t, config, { NODE_EXTRA_CA_CERTS: caFile });
let master = startMaster();
const api = await until('the master is up', async () => {
  try {
    const api = openFleetApi(config);
    await api.nodes();
    return api;
  } catch {
    return undefined;
  }
});
const settings = { dataDir: join(home, 'node'), node: 'node', join: await api.joinString() };
const own = await agentConfig(t, settings, ports);
const startAgent = () => runAgent(t, own);
let agent = await startAgent();
await untilReady(api, 'node');
const { proxy } = await startEchoAndCaller(api);

const call = (token?: string, path = '/open') =>
  callThrough(
    proxy,
    `http://echo.default.mesh${path}`,
    token === undefined ? {} : { authorization: `Bearer ${token}` },
  );
const statusOf = async (token?: string, path?: string) => (await call(token, path)).status;
const audience = { aud: 'echo' };
const authentication = {
  apiVersion: 'security.istio.io/v1',
  kind: 'RequestAuthentication',
  metadata: { name: 'people' },
  spec: {
    selector: { matchLabels: { app: 'echo' } },
    jwtRules: [
      {
        issuer: issuer.issuer,
        audiences: ['echo'],
        jwksUri,
        outputClaimToHeaders: [{ header: 'x-user', claim: 'sub' }],
      },
    ],
  },
};
const people = policyFor('echo', 'people', {
  rules: [
    { to: [{ operation: { notPaths: ['/closed/*'] } }] },
    { from: [{ source: { requestPrincipals: ['https://id.example/ann'] } }] },
  ],
});
const untilEnforced = () =>
  until('the node has acknowledged all', async () => {
    const policies = await api.policies();
    return policies.length > 0 && policies.every(({ enforcedOn }) => enforcedOn === 1) && policies;
  });

t.test('while its keys were never fetched, tokens are refused, and the operator sees why', async t => {
  await api.apply(authentication, people);
  const policies = await untilEnforced();
  t.match(
    policies.find(({ kind }) => kind === 'RequestAuthentication'),
    { action: 'tokens of https://id.example', problem: `${jwksUri}: it answers 500: tokens by its keys are refused` },
  );
  const [event] = await api.events('keys-unavailable');
  t.match(event, { severity: 'warning', message: `${jwksUri}: it answers 500: tokens by its keys are refused` });
  t.equal(await statusOf(), 200);
  const refused = await call(issuer.token(audience));
  t.match(refused, { status: 401, text: 'Jwks remote fetch is failed' });
  t.equal(refused.headers['www-authenticate'], 'Bearer realm="http://echo.default.mesh/open", error="invalid_token"');
});

t.test('a redirect is not followed, and what is no set of keys is not taken', async t => {
  const lookAgain = async (label: string) => {
    await api.apply({ ...authentication, metadata: { name: 'people', labels: { try: label } } });
    return (await api.policies()).find(({ kind }) => kind === 'RequestAuthentication')?.problem;
  };
  answer = { status: 302, body: '' };
  t.match(await lookAgain('a'), /it answers 302: redirects are not followed/);
  answer = { status: 200, body: '<html>secret words of a server</html>' };
  const problem = await lookAgain('b');
  t.match(problem, /what it gives is no use: expected a JWKS/);
  t.notMatch(problem, /secret/);
  answer = { status: 200, body: 'x'.repeat(100_000) };
  t.match(await lookAgain('c'), /its answer has more than 65536 bytes/);
  t.ok(asked.every(url => url === '/keys?v=1'));
});

t.test('with keys the node tells good tokens from others', async t => {
  answer = { status: 200, body: issuer.jwks };
  await api.apply({ ...authentication, metadata: { name: 'people', labels: { try: 'd' } } });
  const policies = await untilEnforced();
  t.ok(policies.every(({ problem }) => problem === undefined));
  const good = await until('the keys are there', async () => {
    const got = await call(issuer.token(audience), '/closed/1');
    return got.status === 200 && got;
  });
  t.match(JSON.parse(good.text), { headers: { 'x-user': 'ann' } });
  t.notMatch(good.text, /authorization/i);
  t.equal(await statusOf(undefined, '/closed/1'), 403);
  t.equal(await statusOf(issuer.token({ ...audience, sub: 'bob' }), '/closed/1'), 403);
  t.equal(await statusOf(issuer.token({ ...audience, exp: inSeconds(-120) })), 401);
  t.equal(await statusOf(makeIssuer(issuer.issuer).token(audience)), 401);
  t.equal(await statusOf(issuer.token({ aud: 'else' })), 403);
  t.equal(await statusOf(unsigned({ iss: issuer.issuer, sub: 'ann', aud: 'echo' })), 401);
});

t.test('other keys reach the node with the next look at the provider, and old tokens are refused then', async t => {
  answer = { status: 200, body: next.jwks };
  // a changed policy has its keys fetched again only when they are older than a minute, a new start at once
  await master.kill();
  master = startMaster();
  await until('the new keys hold', async () => (await statusOf(next.token(audience), '/closed/1')) === 200);
  t.equal(await statusOf(issuer.token(audience)), 401);
});

t.test('without provider, master and network the node verifies on, also after a start', async t => {
  answer = { status: 500, body: '' };
  await master.kill();
  t.equal(await statusOf(next.token({ ...audience, jti: '1' }), '/closed/1'), 200);
  await agent.stop();
  agent = await startAgent();
  await until('it serves again', async () => (await statusOf()) === 200);
  t.equal(await statusOf(next.token({ ...audience, jti: '2' }), '/closed/1'), 200);
  t.equal(await statusOf(issuer.token(audience)), 401);
});

t.test('a master that starts without the provider still gives the last good keys', async t => {
  master = startMaster();
  await until('it says that it uses the last ones', async () => {
    const policies = await api.policies().catch(() => []);
    return policies.some(
      ({ problem }) => problem?.endsWith('it answers 500: the keys that it gave last are used') === true,
    );
  });
  await untilReady(api, 'node');
  t.equal(await statusOf(next.token(audience), '/closed/1'), 200);
});
