import { Buffer } from 'node:buffer';
import t from 'tap';
import { seededRandom } from '../../../src/base/random.ts';
import { noteHash } from '../../../src/proxy/egress/hash-key.ts';
import { Exchange } from '../../../src/proxy/wire/exchange.ts';
import { Head } from '../../../src/proxy/wire/head.ts';
import { parseRequest } from '../../../src/proxy/wire/parse.ts';
import type { HashKey } from '../../../src/traffic/cluster.ts';
import { hash32 } from '../../../src/traffic/hash.ts';

const random = seededRandom(1);

function noted(key: HashKey, request: string): Exchange {
  const head = new Head();
  const bytes = Buffer.from(`${request}\r\n\r\n`, 'latin1');
  t.ok(parseRequest(head, bytes, 0, bytes.length) > 0);
  const exchange = new Exchange();
  noteHash(exchange, key, { task: 'visitor-1', random }, head, bytes);
  return exchange;
}

const get = (target: string, ...headers: string[]) => [`GET ${target} HTTP/1.1`, 'Host: web', ...headers].join('\r\n');

t.test('a header, a parameter, a cookie or the calling task decides', async t => {
  const header: HashKey = { from: 'header', name: 'x-user' };
  t.equal(noted(header, get('/', 'X-User: ada')).hash, hash32('ada'));
  t.equal(noted(header, get('/')).hash, -1);
  const query: HashKey = { from: 'query', name: 'user' };
  t.equal(noted(query, get('/a?user=ada&user=bob')).hash, hash32('ada'));
  t.equal(noted(query, get('/a?x=1&user=bob')).hash, hash32('bob'));
  t.equal(noted(query, get('/a?users=ada')).hash, -1);
  t.equal(noted(query, get('/user=ada')).hash, -1);
  const cookie: HashKey = { from: 'cookie', name: 'user', path: '', ttlSeconds: undefined };
  t.equal(noted(cookie, get('/', 'Cookie: a=b; user=ada; c=d')).hash, hash32('ada'));
  t.equal(noted(cookie, get('/', 'Cookie: user="ada"')).hash, hash32('ada'));
  const without = noted(cookie, get('/', 'Cookie: xuser=ada'));
  t.same([without.hash, without.responseAdditions], [-1, '']);
  t.equal(noted({ from: 'source' }, get('/')).hash, hash32('visitor-1'));
});

t.test('a client without the cookie gets one that leads to the same host', async t => {
  const key: HashKey = { from: 'cookie', name: 'user', path: '/shop', ttlSeconds: 60 };
  const { hash, responseAdditions } = noted(key, get('/'));
  const [, value = ''] =
    /^set-cookie: user=([0-9a-f]{13}); Max-Age=60; Path=\/shop; HttpOnly\r\n$/.exec(responseAdditions) ?? [];
  const again = noted(key, get('/', `Cookie: user=${value}`));
  t.same([again.hash, again.responseAdditions], [hash, '']);
  const session = noted({ ...key, path: '', ttlSeconds: 0 }, get('/'));
  t.match(session.responseAdditions, /^set-cookie: user=[0-9a-f]{13}; HttpOnly\r\n$/);
});
