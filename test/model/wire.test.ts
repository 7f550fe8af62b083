import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { MesoliteError } from '../../src/base/errors.ts';
import { chainHead, chainStart, isIntact } from '../../src/model/audit-chain.ts';
import { isTrustDomain, parseSpiffeId, principalOf, printSpiffeId, type SpiffeId } from '../../src/model/identity.ts';
import { parseServiceRef, serviceKey } from '../../src/model/ids.ts';
import { decodeUp, encodeMessage, messageBounds, upSchemas } from '../../src/model/message.ts';
import { endpointName, isTerminal, taskStates } from '../../src/model/task.ts';
import { downKinds, parseTopic, topics, upKinds } from '../../src/model/topics.ts';

const name = fc.stringMatching(/^[a-z0-9-]{1,63}$/);
const token = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/);

t.test('a node says of itself at which pace it speaks, within bounds', async t => {
  const read = (everyMs: number) => decodeUp('hb', encodeMessage({ v: 1, boot: 1, seq: 0, everyMs }));
  t.match(read(110_000), { everyMs: 110_000 });
  for (const everyMs of [0, 999, 3_600_001, Number.MAX_SAFE_INTEGER])
    t.throws(() => read(everyMs), { code: 'INVALID_INPUT', message: /everyMs/ });
});

t.test('a topic that was built is read as what it was built from', async () => {
  const same = (topic: string, expected: object) => {
    const got = JSON.stringify(parseTopic(topic));
    if (got !== JSON.stringify(expected)) throw new Error(`${topic}: ${got}`);
  };
  fc.assert(
    fc.property(name, name, token, token, (node, other, tokenId, nonce) => {
      for (const what of upKinds) same(topics.up(node, what), { kind: 'up', node, what });
      for (const what of downKinds) same(topics.down(node, what), { kind: 'down', node, what });
      same(topics.service(`${node}.${other}`), { kind: 'service', key: `${node}.${other}` });
      same(topics.joinRequest(tokenId, nonce), { kind: 'join', tokenId, nonce, what: 'req' });
      same(topics.joinResponse(tokenId, nonce), { kind: 'join', tokenId, nonce, what: 'res' });
    }),
    { seed: 16 },
  );
  same(topics.policy, { kind: 'policy' });
  same(topics.manifest, { kind: 'manifest' });
});

t.test('a topic that is none of ours is nothing', async t => {
  for (const topic of [
    '',
    'mesolite/v1',
    'mesolite/v1/',
    'mesolite/v2/up/a/hb',
    'mesolite/v1/up/a',
    'mesolite/v1/up/a/hb/x',
    'mesolite/v1/up/a/other',
    'mesolite/v1/up/A/hb',
    'mesolite/v1/up/+/hb',
    'mesolite/v1/up/#',
    'mesolite/v1/up//hb',
    'mesolite/v1/down/a/hb',
    'mesolite/v1/all',
    'mesolite/v1/all/policy/',
    'mesolite/v1/all/policy/x',
    'mesolite/v1/all/services/a',
    'mesolite/v1/all/services/a.b.c',
    'mesolite/v1/all/services/a.b/c',
    'mesolite/v1/join/a/b',
    'mesolite/v1/join/a/b/other',
    'mesolite/v1/join/a/+/req',
    '/mesolite/v1/up/a/hb',
    '$SYS/x',
    `mesolite/v1/up/${'a'.repeat(64)}/hb`,
    topics.allUp,
    topics.allJoinRequests,
  ]) {
    t.equal(parseTopic(topic), undefined, topic);
  }
});

t.test('a SPIFFE id that was printed is read as it was, and its principal lacks the scheme', async () => {
  const trustDomain = fc.stringMatching(/^[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?$/);
  const id: fc.Arbitrary<SpiffeId> = fc.oneof(
    fc.record({ kind: fc.constant('node' as const), trustDomain, node: name }),
    fc.record({ kind: fc.constant('workload' as const), trustDomain, namespace: name, serviceAccount: name }),
    fc.record({ kind: fc.constantFrom('master' as const, 'broker' as const, 'config' as const), trustDomain }),
  );
  fc.assert(
    fc.property(id, id => {
      const uri = printSpiffeId(id);
      if (JSON.stringify(parseSpiffeId(uri)) !== JSON.stringify(id)) throw new Error(uri);
      if (`spiffe://${principalOf(id)}` !== uri) throw new Error(principalOf(id));
    }),
    { seed: 17 },
  );
});

t.test('what is not one of our SPIFFE ids is nothing', async t => {
  for (const uri of [
    '',
    'spiffe://',
    'spiffe://td',
    'spiffe://td/',
    'spiffe:///ns/a/sa/b',
    'SPIFFE://td/ns/a/sa/b',
    'https://td/ns/a/sa/b',
    'spiffe://TD/ns/a/sa/b',
    'spiffe://td:443/ns/a/sa/b',
    'spiffe://u@td/ns/a/sa/b',
    'spiffe://td/ns/a/sa/b/',
    'spiffe://td/ns/a/sa/b?x',
    'spiffe://td/ns/a/sa/b#x',
    'spiffe://td/ns/a/sa',
    'spiffe://td/ns//sa/b',
    'spiffe://td/ns/../sa/b',
    'spiffe://td/ns/a/sa/b\n',
    'spiffe://td/ns/%61/sa/b',
    'spiffe://td/node/a/b',
    'spiffe://td/node/A',
    'spiffe://td/master/x',
    'spiffe://-td/master',
    `spiffe://td/node/${'a'.repeat(64)}`,
    `spiffe://${'a'.repeat(3000)}/master`,
  ]) {
    t.equal(parseSpiffeId(uri), undefined, JSON.stringify(uri));
  }
  t.equal(isTrustDomain('edge.example'), true);
  t.equal(isTrustDomain('a'.repeat(256)), false);
});

t.test('a service is named in the own namespace or in another', async t => {
  t.same(parseServiceRef('web', 'shop'), { name: 'web', namespace: 'shop' });
  t.same(parseServiceRef('web.bank', 'shop'), { name: 'web', namespace: 'bank' });
  t.equal(serviceKey({ name: 'web', namespace: 'bank' }), 'web.bank');
});

t.test('a message up is read back, and fields of a newer agent are ignored', async t => {
  const death = { v: 1, boot: 3 } as const;
  t.same(decodeUp('death', encodeMessage({ ...death, more: true })), death);
  const beat = { v: 1, boot: 1, seq: 0, ts: 1, full: false, usage: { cpu: 0.5 }, held: 'x' } as const;
  t.same(decodeUp('hb', encodeMessage(beat)), beat);
});

t.test('a malformed message is refused with what and where', async t => {
  const cases: [unknown, string, RegExp][] = [
    [{ v: 2, boot: 1 }, 'INVALID_INPUT', /^death: v: /],
    [{ v: 1 }, 'INVALID_INPUT', /^death: boot: /],
    [{ v: 1, boot: -1 }, 'INVALID_INPUT', /^death: boot: /],
    [{ v: 1, boot: 2 ** 60 }, 'INVALID_INPUT', /^death: boot: /],
    [
      { v: 1, boot: 1, x: 'x'.repeat(messageBounds.up.maxBytes) },
      'TOO_LARGE',
      /^death: \d+ bytes, at most 262144 are taken$/,
    ],
  ];
  for (const [message, code, text] of cases) {
    t.throws(() => decodeUp('death', encodeMessage(message as object)), { code, message: text });
  }
  t.throws(() => decodeUp('task', encodeMessage({ v: 1, boot: 1, seq: 0, ts: 1, statuses: [{ uuid: 'u' }] })), {
    message: /^task: statuses\[0\]\./,
  });
});

t.test('whatever a node sends, it is read or refused', async () => {
  const kinds = Object.keys(upSchemas) as (keyof typeof upSchemas)[];
  fc.assert(
    fc.property(
      fc.constantFrom(...kinds),
      fc.oneof(
        fc.uint8Array(),
        fc.json().map(text => Buffer.from(text)),
      ),
      (kind, payload) => {
        try {
          decodeUp(kind, payload);
        } catch (error) {
          if (!(error instanceof MesoliteError)) throw error;
        }
      },
    ),
    { seed: 18, numRuns: 2000 },
  );
});

t.test('a chain of records breaks when one is changed, removed, moved or added', async t => {
  const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
  const lines = ['{"a":1}', '{"a":2}', '{"a":3}'];
  const head = chainHead(chainStart, lines, sha256);
  const batch = { first: 0, previous: chainStart, head, lines };
  t.equal(isIntact(batch, sha256), true);
  t.equal(
    chainHead(chainHead(chainStart, lines.slice(0, 1), sha256), lines.slice(1), sha256),
    head,
    'in pieces it is the same',
  );
  const [a = '', b = '', c = ''] = lines;
  for (const tampered of [
    [a, b],
    [a, c, b],
    [a, b, `${c} `],
    [a, b, c, c],
    [`${a}\n${b}`, c],
    [b, c],
  ]) {
    t.equal(isIntact({ ...batch, lines: tampered }, sha256), false, JSON.stringify(tampered));
  }
  t.equal(isIntact({ ...batch, previous: sha256('x') }, sha256), false);
});

t.test('an endpoint is named after its task, its service and its namespace', async t => {
  const spec = { id: 'web.shop.0-Ab1', namespace: 'shop', service: { name: 'front', port: 'http' } };
  t.equal(endpointName(spec), '0-ab1.front.shop.mesh');
  t.equal(endpointName({ ...spec, id: 'alone' }), 'alone.front.shop.mesh');
  t.equal(endpointName({ id: spec.id, namespace: 'shop' }), undefined);
});

t.test('after a terminal state nothing more happens', async t => {
  t.same(
    taskStates.filter(state => !isTerminal(state)),
    ['TASK_STAGING', 'TASK_STARTING', 'TASK_RUNNING', 'TASK_KILLING', 'TASK_UNREACHABLE', 'TASK_UNKNOWN'],
  );
});
