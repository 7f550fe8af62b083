import { createHmac } from 'node:crypto';
import t from 'tap';
import {
  apiTokenMatches,
  deriveJoinKey,
  hashApiToken,
  joinRequestMac,
  joinResponseMac,
  macEquals,
  makeApiToken,
  makeJoinToken,
  makeNonce,
} from '../../src/identity/token.ts';
import { parseTopic, topics } from '../../src/model/topics.ts';

const secret = Buffer.alloc(32, 7).toString('base64url');

t.test('join tokens have an id for topics and a secret of 256 bits', async t => {
  const tokens = Array.from({ length: 100 }, makeJoinToken);
  for (const token of tokens) {
    t.match(parseTopic(topics.joinRequest(token.id, makeNonce())), { kind: 'join', tokenId: token.id });
    t.equal(Buffer.from(token.secret, 'base64url').length, 32);
  }
  t.equal(new Set(tokens.map(token => token.secret)).size, 100);
  t.equal(new Set(tokens.map(token => token.id)).size, 100);
});

t.test('both sides derive one key from the secret, and it is not the secret', async t => {
  const key = deriveJoinKey(secret);
  t.same(key, createHmac('sha256', Buffer.alloc(32, 7)).update('mesolite/v1/join/key').digest());
  t.notSame(key, Buffer.from(secret, 'base64url'));
});

t.test('the MACs are those that the message format describes', async t => {
  const key = deriveJoinKey(secret);
  const hmac = (text: string) => createHmac('sha256', key).update(text).digest('base64url');
  t.equal(joinRequestMac(key, 'nonce', '{"node":"pi-4"}'), hmac('mesolite/v1/join/req\nnonce\n{"node":"pi-4"}\n'));
  t.equal(
    joinResponseMac(key, 'nonce', 'ab12', '{"status":"pending"}'),
    hmac('mesolite/v1/join/res\nnonce\nab12\n{"status":"pending"}\n'),
  );
});

t.test('a MAC changes with each thing it covers', async t => {
  const key = deriveJoinKey(secret);
  const base = joinRequestMac(key, 'n', 'body');
  const others = [
    joinRequestMac(deriveJoinKey(Buffer.alloc(32, 8).toString('base64url')), 'n', 'body'),
    joinRequestMac(key, 'm', 'body'),
    joinRequestMac(key, 'n', 'Body'),
    joinResponseMac(key, 'n', '', 'body'),
  ];
  for (const other of others) t.notOk(macEquals(base, other));
  t.ok(macEquals(base, joinRequestMac(key, 'n', 'body')));
});

t.test('comparison takes any text', async t => {
  t.ok(macEquals('', ''));
  t.notOk(macEquals('a', ''));
  t.notOk(macEquals('é', 'ab'), 'two bytes, other bytes');
});

t.test('an API token is known by its hash alone', async t => {
  const token = makeApiToken();
  t.match(token, /^mesolite_[A-Za-z0-9_-]{43}$/);
  const stored = hashApiToken(token);
  t.notMatch(stored, token);
  t.ok(apiTokenMatches(token, stored));
  t.notOk(apiTokenMatches(makeApiToken(), stored));
  t.notOk(apiTokenMatches('', stored));
  t.notOk(apiTokenMatches(token, token), 'the token itself is not its hash');
});
