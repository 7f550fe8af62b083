import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startApiServer } from '../fixtures/api-server.ts';
import { run } from '../fixtures/cli-run.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';

const setting = (server: string, ca: string, tokenFile: string, name = 'here') =>
  ['context', 'set', name, '--server', server, '--ca', ca, '--token-file', tokenFile] as const;

function makeHome(t: Test) {
  const dir = t.testdir({ 'ca.pem': 'x', token: 'y' });
  const env = { MESOLITE_CONFIG: join(dir, 'deep', 'config.yaml') };
  const mesolite = (...argv: readonly string[]) => run(argv, { env });
  return { dir, env, mesolite, ca: join(dir, 'ca.pem'), token: join(dir, 'token'), config: env.MESOLITE_CONFIG };
}

t.test('contexts are set, listed and chosen, in a file that only its owner reads', async t => {
  const { mesolite, ca, token, config, env } = makeHome(t);
  t.match(await mesolite('context', 'list'), { code: 0, out: '', err: 'no contexts\n' });
  t.match(await mesolite(...setting('https://a.example:8443/', ca, token, 'a')), {
    code: 0,
    out: /the current one is a/,
  });
  t.match(await mesolite(...setting('https://b.example:8443', ca, token, 'b')), {
    code: 0,
    out: /the current one is a/,
  });
  t.equal(statSync(config).mode & 0o777, 0o600);
  t.notMatch(readFileSync(config, 'utf8'), 'y\n', 'the token stays in its own file');
  t.match(await mesolite('context', 'use', 'b'), { code: 0, out: 'the current context is b\n' });
  const { out } = await mesolite('context', 'list');
  t.match(out, /^CURRENT +NAME +SERVER\n +a +https:\/\/a\.example:8443\n\* +b +https:\/\/b\.example:8443\n$/);
  t.match(await mesolite('context', 'use', 'c'), { code: 1, err: /no context "c" in .*; it has a, b/ });
  const asked = await run(['get', 'nodes'], { env: { ...env, MESOLITE_CONTEXT: 'c' } });
  t.match(asked, { code: 2, err: /there is no context "c"/ });
  t.match(await run(['get', 'nodes', '--context', 'd'], { env }), { code: 2, err: /there is no context "d"/ });
});

t.test('a command without a context says how to set one', async t => {
  const { mesolite } = makeHome(t);
  t.match(await mesolite('get', 'nodes'), { code: 2, err: /no context is chosen: mesolite context set NAME --server/ });
});

t.test('a context that cannot work is refused when it is set', async t => {
  const { mesolite, ca, token, dir } = makeHome(t);
  t.match(await mesolite(...setting('http://a:1', ca, token)), { code: 1, err: /server: expected https:\/\/<host>/ });
  t.match(await mesolite(...setting('https://a:1', join(dir, 'no'), token)), {
    code: 1,
    err: /no: no such file\n/,
  });
  t.match(await mesolite('context', 'set', 'A B', '--server', 'https://a:1'), { code: 2 });
  t.match(await mesolite('context', 'list'), { err: 'no contexts\n' });
});

t.test('a config file that is none is refused with its place', async t => {
  const dir = t.testdir({ 'bad.yaml': 'contexts: [', 'field.yaml': 'curent: a', large: '#'.repeat(300_000) });
  const list = (name: string) => run(['context', 'list'], { env: { MESOLITE_CONFIG: join(dir, name) } });
  t.match(await list('bad.yaml'), { code: 1, err: /bad\.yaml: .*line 1, column/ });
  t.match(await list('field.yaml'), { code: 1, err: /field\.yaml: curent: unknown field/ });
  t.match(await list('large'), { code: 1, err: /300000 bytes is no config file/ });
});

t.test('a master that is not there, not the right one, or does not know the token ends with code 3', async t => {
  const dir = t.testdir({ 'other.pem': makeTestAuthority(Date.now()).authority.rootPem, wrong: 'wrong', config: '' });
  const server = await startApiServer(t, dir);
  const env = { MESOLITE_CONFIG: join(dir, 'config') };
  const mesolite = (...argv: readonly string[]) => run(argv, { env });

  await mesolite(...setting(server.url, server.caFile, join(dir, 'wrong')));
  t.match(await mesolite('get', 'nodes'), { code: 3, err: /the token in .*wrong is not accepted/ });
  await mesolite(...setting(server.url, join(dir, 'other.pem'), server.tokenFile));
  t.match(await mesolite('get', 'nodes'), { code: 3, err: /is not trusted: its certificate is not vouched for by/ });
  t.equal(server.calls.length, 1, 'nothing is said to a master that is not trusted');
  await mesolite(...setting(server.url.replace('127.0.0.1', '127.0.0.2'), server.caFile, server.tokenFile));
  t.match(await mesolite('get', 'nodes'), { code: 3 });
  await mesolite(...setting(server.url, server.caFile, server.tokenFile));
  await server.close();
  t.match(await mesolite('get', 'nodes'), {
    code: 3,
    out: '',
    err: `mesolite: cannot reach the master at ${server.url}: is it running?\n`,
  });
});

t.test('something else behind the port is told from a master', async t => {
  const { mesolite, ca, token } = makeHome(t);
  const other = createServer(socket => socket.end('SSH-2.0-dropbear\r\n'));
  other.listen(0, '127.0.0.1');
  await once(other, 'listening');
  t.teardown(() => other.close());
  const address = other.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await mesolite(...setting(`https://127.0.0.1:${port}`, ca, token));
  t.match(await mesolite('get', 'nodes'), { code: 3, err: /cannot reach the master at https:/ });
});

t.test('a token file that went away is named', async t => {
  const { mesolite, ca, token, dir, config } = makeHome(t);
  await mesolite(...setting('https://127.0.0.1:1', ca, token));
  writeFileSync(config, readFileSync(config, 'utf8').replaceAll(token, join(dir, 'gone')));
  t.match(await mesolite('get', 'nodes'), { code: 1, err: /the token of the context: .*gone: no such file\n/ });
});
