import t, { type Test } from 'tap';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { limitsOf, Mesh, policyOf, RawClient, rawOrigin, serverNameOf, startNode } from '../fixtures/proxy-node.ts';

const mesh = new Mesh();
const once = { maxTokens: 1, fillInterval: '1h' };

/** A node with the workload `web` behind these limits. */
async function limited(t: Test, ...specs: readonly object[]) {
  const clock = new FakeClock();
  const origin = await rawOrigin(t, (socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const node = await startNode(t, {
    clock,
    workloads: [mesh.workload('web', { appPort: origin.port })],
    limits: limitsOf(...specs),
  });
  const as = (account: string) => RawClient.mesh(t, mesh, account, node, serverNameOf('web'));
  return { clock, node, as };
}

const ask = async (client: RawClient, path = '/', lines = '') => {
  const answer = await client.askWhole(`GET ${path} HTTP/1.1\r\nHost: web\r\n${lines}\r\n`);
  return Number(answer.slice(9, 12));
};

t.test(
  'a workload takes as many requests as its bucket has, from all callers together, and more with time',
  async t => {
    const { clock, node, as } = await limited(t, {
      tokenBucket: { maxTokens: 3, tokensPerFill: 2, fillInterval: '1s' },
    });
    const a = await as('a');
    const b = await as('b');
    t.same([await ask(a), await ask(b), await ask(a), await ask(b)], [200, 200, 200, 429]);
    const answer = await a.askWhole('GET / HTTP/1.1\r\nHost: web\r\n\r\n');
    t.match(answer, /^HTTP\/1\.1 429 [\s\S]*x-envoy-ratelimited: true\r\n\r\nlocal_rate_limited$/);
    await clock.advance(500);
    t.same([await ask(a), await ask(b)], [200, 429]);
    await clock.advance(10_000);
    t.same([await ask(b), await ask(b), await ask(b), await ask(b)], [200, 200, 200, 429]);
    t.match(node.records[3], { status: 429, flags: 'RL', verdict: 'deny', rule: 'default/l0' });
    t.match(node.records[0], { status: 200, flags: '-', verdict: 'allow', rule: 'no-policy' });
    t.same(node.proxy.snapshot().limits, [{ name: 'default/l0', enforced: true, requests: 4 }]);
  },
);

t.test('a caller has a bucket of its own on all its connections', async t => {
  const { as } = await limited(t, { tokenBucket: once, per: 'principal' });
  t.equal(await ask(await as('a')), 200);
  t.equal(await ask(await as('a')), 429);
  t.equal(await ask(await as('b')), 200);
});

t.test('so has a path in its normal form, whatever its query', async t => {
  const { as } = await limited(t, { tokenBucket: once, per: 'path' });
  const client = await as('a');
  t.equal(await ask(client, '/x?a=1'), 200);
  t.equal(await ask(client, '/y/../x?a=2'), 429);
  t.equal(await ask(client, '/z'), 200);
});

t.test('so has each value of a header; those who leave it out share one', async t => {
  const { as } = await limited(t, { tokenBucket: once, per: 'header', header: 'X-Api-Key' });
  const client = await as('a');
  t.equal(await ask(client, '/', 'x-api-key: 1\r\n'), 200);
  t.equal(await ask(client, '/', 'x-api-key: 2\r\n'), 200);
  t.equal(await ask(client, '/', 'X-API-Key: 1\r\n'), 429);
  t.equal(await ask(client), 200);
  t.equal(await ask(client), 429);
});

t.test('a shadow refuses nothing, and says what it would have refused', async t => {
  const { node, as } = await limited(t, { tokenBucket: once, enforce: false });
  const client = await as('a');
  t.same([await ask(client), await ask(client)], [200, 200]);
  await node.recorded(2);
  t.same(
    node.records.map(({ flags, verdict }) => [flags, verdict]),
    [
      ['-', 'allow'],
      ['RL:shadow', 'allow'],
    ],
  );
  t.same(node.proxy.snapshot().limits, [{ name: 'default/l0', enforced: false, requests: 1 }]);
});

t.test('every limit that selects a workload holds, and a request that policy denies takes no token', async t => {
  const { node, as } = await limited(
    t,
    { tokenBucket: { maxTokens: 2, fillInterval: '1h' } },
    { tokenBucket: once, per: 'principal', selector: { matchLabels: { app: 'web' } } },
    { tokenBucket: once, per: 'principal', selector: { matchLabels: { app: 'other' } } },
  );
  node.policy.set(policyOf('deny'));
  const a = await as('a');
  t.same([await ask(a), await ask(a), await ask(a)], [403, 403, 403]);
  node.policy.set(policyOf('allow'));
  t.same([await ask(a), await ask(a)], [200, 429]);
  t.equal(await ask(await as('b')), 429, 'the workload has none left');
});

t.test('a push that does not change a limit gives nobody a full bucket', async t => {
  const { node, as } = await limited(t, { tokenBucket: once });
  const client = await as('a');
  t.equal(await ask(client), 200);
  node.limits.set(limitsOf({ tokenBucket: once }, { tokenBucket: once, per: 'path' }));
  t.equal(await ask(client), 429);
  node.limits.set(limitsOf({ tokenBucket: { maxTokens: 1, fillInterval: '2h' } }));
  t.equal(await ask(client), 200, 'another limit has another bucket');
  node.limits.set(limitsOf());
  t.equal(await ask(client), 200);
});
