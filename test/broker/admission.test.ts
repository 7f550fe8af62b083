import t from 'tap';
import {
  type Admission,
  type AdmissionRules,
  admit,
  type ConnectFields,
  type Identity,
  isPassedOver,
  mayPublish,
  maySubscribe,
  sessionName,
} from '../../src/broker/admission.ts';
import { type Peer, parseSpiffeId } from '../../src/model/identity.ts';
import { topics } from '../../src/model/topics.ts';

const rules: AdmissionRules = {
  trustDomain: 'test.mesh',
  now: 1_000,
  maxKeepaliveSeconds: 300,
  maxWillBytes: 100,
  isTokenKnown: false,
};

function peer(uri: string): Peer {
  const id = parseSpiffeId(uri);
  if (id === undefined) throw new Error(uri);
  return { id, uri, principal: uri.slice(9), serial: '01', sha256: '00', notAfter: 2_000 };
}

const nodePeer = peer('spiffe://test.mesh/node/a');
const connect = (fields: Partial<ConnectFields> = {}): ConnectFields => ({
  clientId: 'a',
  clean: true,
  keepaliveSeconds: 30,
  ...fields,
});
const reasonOf = (admission: Admission) => ('refusal' in admission ? admission.refusal.reason : undefined);

t.test('a node comes in under its own id alone', async t => {
  t.strictSame(admit(nodePeer, connect(), rules), { identity: { role: 'node', node: 'a' } });
  t.equal(reasonOf(admit(nodePeer, connect({ clientId: 'b' }), rules)), 'client-id');
  const known = { ...rules, isTokenKnown: true };
  t.equal(reasonOf(admit(nodePeer, connect({ clientId: 'b', username: 'tok' }), known)), 'client-id');
});

t.test('a node whose certificate has expired comes in to renew it, the master does not', async t => {
  const late = { ...rules, now: 2_000 };
  t.strictSame(admit(nodePeer, connect(), late), { identity: { role: 'renewal', node: 'a' } });
  t.equal(reasonOf(admit(nodePeer, connect({ clientId: 'b' }), late)), 'client-id');
  t.equal(reasonOf(admit(peer('spiffe://test.mesh/master'), connect(), late)), 'expired');
  const will = { topic: topics.up('a', 'death'), qos: 1, retain: false, payloadBytes: 1 };
  t.ok('identity' in admit(nodePeer, connect({ will }), late), 'it does not know yet what it is');
  t.equal(reasonOf(admit(nodePeer, connect({ will: { ...will, topic: topics.up('b', 'death') } }), late)), 'will');
});

t.test('the master comes in under any name', async t => {
  const admission = admit(peer('spiffe://test.mesh/master'), connect({ clientId: 'm2' }), rules);
  t.strictSame(admission, { identity: { role: 'master', clientId: 'm2' } });
});

t.test('workloads, the configuration key, other brokers and other trust domains have no business here', async t => {
  for (const uri of [
    'spiffe://test.mesh/ns/default/sa/a',
    'spiffe://test.mesh/config',
    'spiffe://test.mesh/broker',
    'spiffe://other/node/a',
    'spiffe://other/master',
  ]) {
    t.equal(reasonOf(admit(peer(uri), connect(), rules)), 'no-identity', uri);
  }
});

t.test('a stranger joins by a token id that is known, and only then', async t => {
  const known = { ...rules, isTokenKnown: true };
  const joiner = connect({ clientId: 'Nonce_1', username: 'tok' });
  t.strictSame(admit(undefined, joiner, known), { identity: { role: 'join', tokenId: 'tok', nonce: 'Nonce_1' } });
  t.equal(reasonOf(admit(undefined, joiner, rules)), 'unknown-token');
  t.equal(reasonOf(admit(undefined, connect(), rules)), 'no-identity');
  t.equal(reasonOf(admit(undefined, connect({ username: 't/+' }), known)), 'unknown-token');
});

t.test('a CONNECT that asks for too much is refused with its reason', async t => {
  const will = { topic: topics.up('a', 'death'), qos: 1, retain: false, payloadBytes: 100 };
  t.ok('identity' in admit(nodePeer, connect({ will }), rules), 'an honest will');
  const table: readonly (readonly [string, Partial<ConnectFields>])[] = [
    ['session', { clean: false }],
    ['client-id', { clientId: '' }],
    ['client-id', { clientId: 'a/b' }],
    ['client-id', { clientId: 'a'.repeat(65) }],
    ['keepalive', { keepaliveSeconds: 0 }],
    ['keepalive', { keepaliveSeconds: 301 }],
    ['will', { will: { ...will, topic: topics.up('b', 'death') } }],
    ['will', { will: { ...will, topic: topics.up('a', 'birth') } }],
    ['will', { will: { ...will, topic: topics.policy } }],
    ['will', { will: { ...will, retain: true } }],
    ['will', { will: { ...will, qos: 2 } }],
    ['will', { will: { ...will, payloadBytes: 101 } }],
  ];
  for (const [reason, fields] of table) {
    t.equal(reasonOf(admit(nodePeer, connect(fields), rules)), reason, JSON.stringify(fields));
  }
  const joiner = connect({ username: 'tok', will });
  t.equal(reasonOf(admit(undefined, joiner, { ...rules, isTokenKnown: true })), 'will', 'a joiner has none');
});

const node: Identity = { role: 'node', node: 'a' };
const renewal: Identity = { role: 'renewal', node: 'a' };
const join: Identity = { role: 'join', tokenId: 'tok', nonce: 'n1' };
const master: Identity = { role: 'master', clientId: 'master' };
const plain = { qos: 1, retain: false };

t.test('who may say what', async t => {
  const may = (identity: Identity, topic: string, packet = plain) => mayPublish(identity, topic, packet);
  for (const kind of ['birth', 'hb', 'task', 'ack', 'audit', 'csr', 'log', 'shadow', 'death'] as const) {
    t.ok(may(node, topics.up('a', kind)), kind);
    t.notOk(may(node, topics.up('b', kind)), `another's ${kind}`);
    t.equal(may(renewal, topics.up('a', kind)), kind === 'csr', `to renew: ${kind}`);
    t.ok(isPassedOver(renewal, topics.up('a', kind), plain), 'what it will say again does not end its connection');
    t.notOk(isPassedOver(renewal, topics.up('b', kind), plain));
    t.notOk(isPassedOver(node, topics.up('b', kind), plain));
  }
  t.notOk(may(node, topics.up('a', 'hb'), { qos: 1, retain: true }), 'retained');
  t.notOk(may(node, topics.up('a', 'hb'), { qos: 2, retain: false }), 'QoS 2');
  t.ok(may(join, topics.joinRequest('tok', 'n1')));
  t.ok(may(master, topics.policy, { qos: 1, retain: true }));
  const denied = [
    topics.down('a', 'task'),
    topics.policy,
    topics.manifest,
    topics.service('s.d'),
    topics.joinRequest('tok', 'n2'),
    topics.joinRequest('other', 'n1'),
    topics.joinResponse('tok', 'n1'),
    `${topics.up('a', 'hb')}/more`,
    'mesolite/v1/up/a/unheard',
    'mesolite/v2/up/a/hb',
    '$SYS/x',
    '',
  ];
  for (const topic of denied) {
    t.notOk(may(node, topic), `a node: ${topic}`);
    t.notOk(may(join, topic), `a joiner: ${topic}`);
    t.notOk(may(renewal, topic) || isPassedOver(renewal, topic, plain), `to renew: ${topic}`);
  }
  t.notOk(may(join, topics.up('a', 'hb')));
  t.notOk(may(master, 'elsewhere/x'));
  t.notOk(may(master, '$SYS/x'));
});

t.test('who may hear what', async t => {
  const forNodes = [topics.policy, topics.manifest, topics.service('web.default')];
  for (const filter of [topics.allDown('a'), topics.down('a', 'task'), ...forNodes]) {
    t.ok(maySubscribe(node, filter), filter);
    t.notOk(maySubscribe(join, filter), `a joiner: ${filter}`);
    t.notOk(maySubscribe(renewal, filter), `to renew: ${filter}`);
    t.ok(maySubscribe(master, filter), `the master: ${filter}`);
  }
  t.ok(maySubscribe(join, topics.joinResponse('tok', 'n1')));
  t.ok(maySubscribe(renewal, topics.down('a', 'ack')));
  const denied = [
    topics.allDown('b'),
    topics.down('b', 'task'),
    topics.allDown('+'),
    topics.allUp,
    topics.up('a', 'hb'),
    topics.allJoinRequests,
    topics.joinResponse('tok', 'n2'),
    'mesolite/v1/all/+',
    'mesolite/v1/all/services/+',
    'mesolite/v1/#',
    '#',
    '+',
    '$SYS/#',
    `$share/g/${topics.policy}`,
    `$share/g/${topics.allDown('a')}`,
    '',
  ];
  for (const filter of denied) {
    t.notOk(maySubscribe(node, filter), `a node: ${filter}`);
    t.notOk(maySubscribe(join, filter), `a joiner: ${filter}`);
  }
  for (const filter of ['#', '$SYS/#', '$share/g/mesolite/v1/#', 'mesolite/v2/#']) {
    t.notOk(maySubscribe(master, filter), `the master: ${filter}`);
  }
});

t.test('sessions of different roles never have the same name', async t => {
  const names = [node, join, { ...join, nonce: 'n2' }, { ...master, clientId: 'a' }, master].map(sessionName);
  t.equal(new Set(names).size, names.length);
});
