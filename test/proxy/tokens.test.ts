import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { EchoClient, startEcho } from '../fixtures/grpc-echo.ts';
import { corpusMissing, readCorpus } from '../fixtures/istio-corpus.ts';
import { Mesh, policyOf, RawClient, rawOrigin, serverNameOf, serviceOf, startNode } from '../fixtures/proxy-node.ts';
import { base64, inSeconds, makeIssuer, signedBySecret, tokensOf, unsigned } from '../fixtures/tokens.ts';

const mesh = new Mesh();
const issuer = makeIssuer('https://id.example/');
const { token, jwks } = issuer;
const rule = { issuer: issuer.issuer, jwks };

interface Stage {
  readonly rules?: readonly object[];
  readonly policy?: readonly object[];
  readonly time?: () => number | undefined;
  readonly answers?: boolean;
}

/** A node with the workload `web` behind these rules. */
async function guarded(t: Test, { rules = [rule], policy = [], time, answers = true }: Stage = {}) {
  const origin = await rawOrigin(t, (socket, text) => {
    if (answers && text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const node = await startNode(t, {
    ...(time && { time }),
    workloads: [mesh.workload('web', { appPort: origin.port })],
    policy: policyOf('allow', ...policy),
  });
  node.requestAuthentication.set(tokensOf([{ jwtRules: rules }]));
  const client = await RawClient.mesh(t, mesh, 'shop', node, serverNameOf('web'));
  const answer = (lines = '', target = '/', method = 'GET') =>
    client.askWhole(`${method} ${target} HTTP/1.1\r\nHost: web\r\n${lines}\r\n`);
  const ask = async (lines = '', target = '/', method = 'GET') =>
    Number((await answer(lines, target, method)).slice(9, 12));
  return { node, origin, client, answer, ask };
}

const bearer = (text: string) => `Authorization: Bearer ${text}\r\n`;
const claims = { iss: issuer.issuer, sub: 'ann', exp: inSeconds(3600) };

t.test('a request without a token passes, one with a good token too, and the application sees no token', async t => {
  const { ask, origin, node } = await guarded(t);
  t.same(
    [await ask(), await ask(bearer(token())), await ask(`authorization: bearer  ${token()}\r\n`)],
    [200, 200, 200],
  );
  t.same(await ask('', `/a?x=1&access_token=${token()}&y=2`), 200);
  t.same(await ask('', `/b?access%5ftoken=${token()}`), 200);
  t.same(await ask('Authorization: Basic YTpi\r\n'), 200);
  t.match(origin.seen(), /^GET \/a\?x=1&y=2 HTTP\/1\.1\r\n/m);
  t.match(origin.seen(), /^GET \/b HTTP\/1\.1\r\n/m);
  t.match(origin.seen(), /Basic YTpi/);
  t.notMatch(origin.seen(), /bearer|access_token/i);
  await node.recorded(6);
  t.ok(node.records.every(({ verdict }) => verdict === 'allow'));
});

t.test('a token that is not good is refused as Envoy does', async t => {
  const stranger = makeIssuer(issuer.issuer);
  const { answer, node, origin } = await guarded(t, { rules: [{ ...rule, audiences: ['web', 'shop'] }] });
  const good = { aud: ['web', 'other'] };
  const publicKey = JSON.stringify(JSON.parse(jwks).keys[0]);
  const refused: [string, string, number, string][] = [
    ['expired', token({ ...good, exp: inSeconds(-61) }), 401, 'Jwt is expired'],
    ['not yet valid', token({ ...good, nbf: inSeconds(90) }), 401, 'Jwt not yet valid'],
    ['by another key', stranger.token(good), 401, 'Jwt verification fails'],
    [
      'by a key that is not there',
      token(good, { kid: 'k2' }),
      401,
      "Jwks doesn't have key to match kid or alg from Jwt",
    ],
    ['of another issuer', token({ ...good, iss: 'https://else.example' }), 401, 'Jwt issuer is not configured'],
    ['without an issuer', token({ ...good, iss: undefined }), 401, 'Jwt issuer is not configured'],
    ['for somebody else', token({ aud: 'else' }), 403, 'Audiences in Jwt are not allowed'],
    ['for nobody', token(), 403, 'Audiences in Jwt are not allowed'],
    ['unsigned', unsigned({ ...claims, ...good }), 401, 'Jwt header [alg] is not supported'],
    [
      'signed with the public key',
      signedBySecret({ ...claims, ...good }, publicKey),
      401,
      'Jwt header [alg] is not supported',
    ],
    ['no token at all', 'abc', 401, 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections'],
    [
      'of three parts that are none',
      'a.b.c',
      401,
      'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections',
    ],
    [
      'changed',
      token(good).replace(/\.[^.]*\./, `.${base64({ ...claims, ...good, sub: 'eve' })}.`),
      401,
      'Jwt verification fails',
    ],
    ['with a critical extension', token(good, { crit: ['x'], x: 1 }), 401, 'Jwt header [alg] is not supported'],
    ['too large', token({ ...good, pad: 'x'.repeat(7000) }), 401, 'Jwt is too large'],
  ];
  for (const [name, text, status, body] of refused) {
    const said = await answer(bearer(text));
    t.match(said, new RegExp(`^HTTP/1\\.1 ${status} `), name);
    t.ok(said.endsWith(`\r\n\r\n${body}`), `${name}: ${said.split('\r\n\r\n')[1]}`);
    t.match(said, /^www-authenticate: Bearer realm="http:\/\/web\/", error="invalid_token"\r$/m, name);
  }
  t.equal(origin.seen(), '');
  await node.recorded(refused.length);
  t.match(node.records[0], { status: 401, verdict: 'deny', rule: 'token-expired', method: 'GET', path: '/' });
  t.match(await answer(bearer(token(good))), /^HTTP\/1\.1 200 /);
});

t.test('clocks may differ by a minute', async t => {
  const { ask } = await guarded(t);
  t.equal(await ask(bearer(token({ exp: inSeconds(-30), nbf: inSeconds(30) }))), 200);
});

t.test('the realm is the address without its query, with quotes escaped', async t => {
  const { answer } = await guarded(t);
  const said = await answer('', '/a"b?access_token=x');
  t.match(said, /Bearer realm="http:\/\/web\/a\\"b", error/);
});

t.test('of several tokens each has to be good', async t => {
  const other = makeIssuer('https://other.example');
  const rules = [rule, { issuer: other.issuer, jwks: other.jwks, fromHeaders: [{ name: 'X-Token', prefix: 'jwt:' }] }];
  const { ask } = await guarded(t, { rules });
  t.equal(await ask(`${bearer(token())}x-token: jwt:${other.token()}\r\n`), 200);
  t.equal(await ask(`${bearer(token())}x-token: jwt:${makeIssuer(other.issuer).token()}\r\n`), 401);
  t.equal(await ask(`${bearer(token())}${bearer('a.b.c')}`), 401, 'the same header twice');
  t.equal(await ask(`x-token: jwt:${token()}\r\n`), 401, 'an issuer at the place of another');
  t.equal(await ask(`x-token: ${token()}\r\n`), 200, 'without the prefix it is no token');
  t.equal(await ask(bearer(token()).repeat(9)), 401, 'more than anybody needs');
});

t.test('rules that look at one place take the tokens of any of their issuers', async t => {
  const other = makeIssuer('other');
  const { ask } = await guarded(t, { rules: [rule, { issuer: 'other', jwks: other.jwks }] });
  t.same([await ask(bearer(token())), await ask(bearer(other.token()))], [200, 200]);
});

t.test('tokens come in cookies and parameters too, and go from there', async t => {
  const rules = [{ ...rule, fromCookies: ['session'], fromParams: ['t'] }];
  const { ask, origin } = await guarded(t, { rules });
  t.equal(await ask(`Cookie: a=1; session=${token()}; b=2\r\nCookie: c=3\r\n`), 200);
  t.equal(await ask(`Cookie: session=bad\r\n`), 401);
  t.equal(await ask('', '/?t=bad'), 401);
  t.equal(await ask(bearer('bad')), 200, 'the places that are named are the only ones');
  t.match(origin.seen(), /^cookie: a=1; b=2\r$/m);
  t.match(origin.seen(), /^Cookie: c=3\r$/m);
  t.notMatch(origin.seen(), /session=/);
});

t.test('a token is forwarded where that is asked for', async t => {
  const { ask, origin } = await guarded(t, { rules: [{ ...rule, forwardOriginalToken: true }] });
  const text = token();
  t.equal(await ask(bearer(text), `/?access_token=${text}`), 200);
  t.ok(origin.seen().includes(`Authorization: Bearer ${text}\r\n`));
  t.ok(origin.seen().includes(`/?access_token=${text} `));
});

t.test('what a token says reaches the application in headers that nobody else can write', async t => {
  const rules = [
    {
      ...rule,
      outputPayloadToHeader: 'x-payload',
      outputClaimToHeaders: [
        { header: 'X-User', claim: 'sub' },
        { header: 'x-team', claim: 'org.team' },
        { header: 'x-level', claim: 'level' },
        { header: 'x-roles', claim: 'roles' },
        { header: 'x-evil', claim: 'evil' },
        { header: 'x-url', claim: 'https://a.b/c' },
      ],
    },
  ];
  const { ask, origin } = await guarded(t, { rules });
  const forged = 'x-user: root\r\nX-Team: root\r\nx_user: root\r\nX-Payload: root\r\n';
  const text = token({ org: { team: 'Zoë' }, level: 3, roles: ['a'], evil: 'x\r\nx-admin: yes', 'https://a.b/c': 'u' });
  t.equal(await ask(`${bearer(text)}${forged}`), 200);
  const seen = origin.seen();
  t.match(seen, /^x-user: ann\r$/m);
  t.ok(seen.includes(`\r\nx-team: ${Buffer.from('Zoë').toString('latin1')}\r\n`));
  t.match(seen, /^x-level: 3\r$/m);
  t.match(seen, /^x-url: u\r$/m);
  t.ok(seen.includes(`\r\nx-roles: ${Buffer.from('["a"]').toString('base64')}\r\n`));
  t.ok(seen.includes(`\r\nx-payload: ${text.split('.')[1]}\r\n`));
  t.notMatch(seen, /root|x-evil|x-admin/);
  t.equal(await ask(forged), 200);
  t.notMatch(origin.seen(), /root/);
  t.equal(await ask(`${forged}Origin: https://a\r\nAccess-Control-Request-Method: GET\r\n`, '/', 'OPTIONS'), 200);
  t.notMatch(origin.seen(), /root/);
});

t.test('a question of CORS passes whatever token comes with it', async t => {
  const { ask } = await guarded(t);
  const preflight = 'Origin: https://a\r\nAccess-Control-Request-Method: GET\r\n';
  t.equal(await ask(`${bearer('bad')}${preflight}`, '/', 'OPTIONS'), 200);
  t.equal(await ask(`${bearer('bad')}Origin: https://a\r\n`, '/', 'OPTIONS'), 401);
  t.equal(await ask(`${bearer('bad')}${preflight}`), 401);
});

t.test('policies judge by what a verified token says, and a caller without one has no principal', async t => {
  const policy = [
    {
      rules: [
        {
          from: [{ source: { requestPrincipals: ['https://id.example//ann'] } }],
          to: [{ operation: { paths: ['/a*'] } }],
        },
        { when: [{ key: 'request.auth.claims[groups]', values: ['admin'] }] },
        {
          when: [
            { key: 'request.auth.audiences', values: ['api'] },
            { key: 'request.auth.presenter', values: ['cli'] },
          ],
        },
        { when: [{ key: 'request.auth.claims[right]', values: ['write'] }] },
        { when: [{ key: 'request.headers[x-user]', values: ['zed'] }] },
      ],
    },
  ];
  const rules = [
    { ...rule, spaceDelimitedClaims: ['right'], outputClaimToHeaders: [{ header: 'x-user', claim: 'sub' }] },
  ];
  const { ask, answer } = await guarded(t, { rules, policy });
  const cases: [string, string, number][] = [
    ['', '/a', 403],
    [bearer(token()), '/a', 200],
    [bearer(token()), '/b', 403],
    [bearer(token({ sub: 'bob' })), '/a', 403],
    [bearer(token({ groups: ['user', 'admin'] })), '/b', 200],
    [bearer(token({ aud: 'api', azp: 'cli' })), '/b', 200],
    [bearer(token({ aud: 'api' })), '/b', 403],
    [bearer(token({ right: 'read write' })), '/b', 200],
    [bearer(token({ sub: 'zed' })), '/b', 200],
    ['x-user: zed\r\n', '/b', 403],
    [`${bearer(token())}x-user: zed\r\n`, '/b', 403],
  ];
  // the second time from memory
  for (const round of [1, 2]) {
    for (const [lines, path, status] of cases) t.equal(await ask(lines, path), status, `${round}: ${path} ${lines}`);
  }
  t.match(await answer('', '/a'), /RBAC: access denied$/);
});

t.test('what several tokens say together is remembered of these tokens alone', async t => {
  const user = makeIssuer('https://users.example');
  const rules = [
    rule,
    {
      issuer: user.issuer,
      jwks: user.jwks,
      fromHeaders: [{ name: 'x-user-token' }],
      outputClaimToHeaders: [{ header: 'x-role', claim: 'role' }],
    },
  ];
  const policy = [{ rules: [{ when: [{ key: 'request.headers[x-role]', values: ['admin'] }] }] }];
  const { ask } = await guarded(t, { rules, policy });
  const service = bearer(token());
  const as = (role: string) => `${service}x-user-token: ${user.token({ role })}\r\n`;
  const [admin, guest] = [as('admin'), as('guest')];
  t.same([await ask(admin), await ask(guest), await ask(service)], [200, 403, 403]);
  t.same([await ask(service), await ask(guest), await ask(admin)], [403, 403, 200], 'and of refusals');
});

t.test('a token that was good is refused once it has expired', async t => {
  const start = Date.now();
  let time = start;
  const { ask } = await guarded(t, { time: () => time });
  const text = token({ exp: inSeconds(100) });
  t.equal(await ask(bearer(text)), 200);
  time = start + 158_000;
  t.equal(await ask(bearer(text)), 200);
  time = start + 161_000;
  t.equal(await ask(bearer(text)), 401);
});

t.test('a token that was good is refused once the policy has other keys', async t => {
  const { ask, node } = await guarded(t);
  const text = token();
  t.equal(await ask(bearer(text)), 200);
  node.requestAuthentication.set(tokensOf([{ jwtRules: [{ ...rule, jwks: makeIssuer(issuer.issuer).jwks }] }]));
  t.equal(await ask(bearer(text)), 401);
  node.requestAuthentication.set(tokensOf([]));
  t.equal(await ask(bearer(text)), 200);
});

t.test('while the node does not know the time, a token with a term is refused, and one without is taken', async t => {
  let time: number | undefined;
  const { ask, answer } = await guarded(t, { time: () => time });
  const text = token();
  t.match(await answer(bearer(text)), /^HTTP\/1\.1 401 [\s\S]*does not know the time yet$/);
  t.equal(await ask(bearer(token({ exp: undefined }))), 200);
  t.equal(await ask(), 200);
  time = Date.now();
  t.equal(await ask(bearer(text)), 200);
  time = undefined;
  t.equal(await ask(bearer(text)), 401);
});

t.test('keys that were never fetched verify nothing; those that were do', async t => {
  const rules = [{ issuer: issuer.issuer, jwksUri: 'https://id.example/keys' }];
  const { ask, answer, node } = await guarded(t, { rules });
  t.match(await answer(bearer(token())), /^HTTP\/1\.1 401 [\s\S]*Jwks remote fetch is failed$/);
  t.equal(await ask(), 200);
  node.requestAuthentication.set(tokensOf([{ jwtRules: rules }], { 'https://id.example/keys': JSON.parse(jwks).keys }));
  t.equal(await ask(bearer(token())), 200);
});

t.test('a body that comes while a token is verified goes with its request, and so does the next request', async t => {
  const { client, origin } = await guarded(t);
  client.write(`POST /1 HTTP/1.1\r\nHost: web\r\n${bearer(token())}Content-Length: 8\r\n\r\nbo`);
  client.write('dy\r\n\r\n');
  const get = (path: string, lines: string) => `GET ${path} HTTP/1.1\r\nHost: web\r\n${lines}\r\n`;
  const last = `${bearer(token({ sub: 'y' }))}Connection: close\r\n`;
  client.write(get('/2', bearer(token({ sub: 'x' }))) + get('/3', bearer('bad')) + get('/4', last));
  const received = await client.untilClosed();
  t.match(origin.seen(), /^POST \/1 [\s\S]*\r\n\r\nbody\r\n\r\nGET \/2 [\s\S]*GET \/4 /);
  t.same(received.match(/(?<=HTTP\/1\.1 )\d+/g), ['200', '200', '401', '200']);
});

t.test('a client that goes while its token is verified leaves a record', async t => {
  const { client, node } = await guarded(t, { answers: false });
  client.write(`GET / HTTP/1.1\r\nHost: web\r\n${bearer(token())}\r\n`);
  client.socket.end();
  await node.recorded(1);
  t.match(node.records[0], { method: 'GET', flags: 'DC', status: 0 });
});

t.test('a call of gRPC is asked for its token like any request, and refused in its own words', async t => {
  const echo = await startEcho(t);
  const b = await startNode(t, { workloads: [mesh.workload('web', { appPort: echo.port, protocol: 'grpc' })] });
  b.requestAuthentication.set(tokensOf([{ jwtRules: [rule] }]));
  const a = await startNode(t, {
    workloads: [mesh.workload('client', { upstreams: ['web.default'] })],
    services: [serviceOf('web', [b.running.meshPort])],
  });
  const credential = Buffer.from('client-1:secret-of-client').toString('base64');
  const clientWith = (authorization: string) =>
    new EchoClient(
      t,
      `127.0.0.1:${a.running.outboundPort}`,
      { 'grpc.default_authority': 'web.default.mesh', 'grpc.enable_http_proxy': 0 },
      { 'proxy-authorization': `Basic ${credential}`, authorization },
    );
  const { code, message } = await clientWith(`Bearer ${token()}`).call('Unary', 'hello');
  t.same({ code, message }, { code: status.OK, message: 'hello' });
  t.same(echo.seen.metadata?.get('authorization'), []);
  const refused = await clientWith(`Bearer ${token({ exp: inSeconds(-100) })}`).call('Unary', 'hello');
  t.match(refused, { code: status.UNAUTHENTICATED, details: /Jwt is expired/ });
});

t.test('every token of Istio that is good is taken, and the expired one is not', { skip: corpusMissing }, async t => {
  const tokens = readCorpus<Record<string, { readonly raw: string }>>('jwt-tokens.json');
  const keys = JSON.stringify(readCorpus<object>('jwks.json'));
  const rules = [1, 2, 3].map(n => ({ issuer: `test-issuer-${n}@istio.io`, jwks: keys }));
  const { ask } = await guarded(t, { rules });
  for (const [name, { raw }] of Object.entries(tokens)) {
    t.equal(await ask(bearer(raw)), name === 'TokenExpired' ? 401 : 200, name);
  }
});
