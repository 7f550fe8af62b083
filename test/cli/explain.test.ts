import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startApiServer } from '../fixtures/api-server.ts';
import { run } from '../fixtures/cli-run.ts';

const job = (name: string, spec: object = {}, metadata: object = {}) => ({
  apiVersion: 'mesolite/v1',
  kind: 'Job',
  metadata: { name, ...metadata },
  spec: { command: ['sleep', '9'], serviceAccount: name, ...spec },
});
const web = job('web', { ports: [{ name: 'http' }], service: { port: 'http' } });
const denyInfo = {
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name: 'no-info' },
  spec: {
    selector: { matchLabels: { app: 'web' } },
    action: 'DENY',
    rules: [{ from: [{ source: { principals: ['*/sa/shop'] } }], to: [{ operation: { paths: ['/admin/*'] } }] }],
  },
};

const tokens = {
  apiVersion: 'security.istio.io/v1',
  kind: 'RequestAuthentication',
  metadata: { name: 'tokens' },
  spec: { jwtRules: [{ issuer: 'https://issuer.example', jwksUri: 'https://issuer.example/keys' }] },
};

function file(t: Test, ...documents: object[]): string {
  const path = join(t.testdir(), 'mesh.json');
  writeFileSync(path, documents.map(document => JSON.stringify(document)).join('\n---\n'));
  return path;
}

t.test('without a master the files are asked; the exit code is the answer', async t => {
  const mesh = ['--offline', '-f', file(t, web, job('shop'), denyInfo), '--to', 'web'];
  const denied = await run(['explain', ...mesh, '--from', 'shop', 'GET', '/admin/x']);
  t.equal(denied.code, 1);
  t.equal(denied.err, '');
  t.match(denied.out, /^deny: rule 0 of the DENY policy default\/no-info matches\n/);
  t.match(denied.out, /from +mesolite\.local\/ns\/default\/sa\/shop\n/);
  const allowed = await run(['explain', ...mesh, '--from', 'shop', 'GET', '/info']);
  t.equal(allowed.code, 0);
  t.match(allowed.out, /default\/no-info +DENY +0 +no +paths: \/admin\/\* does not match \/info\n/);
  const plain = await run(['explain', ...mesh, '--from', 'outside', 'GET', '/admin/x', '-o', 'json']);
  t.match(JSON.parse(plain.out), {
    verdict: 'allow',
    plaintext: true,
    mtls: 'PERMISSIVE',
    policies: [
      { policy: 'default/no-info', rules: [{ matches: false, why: ['principals: the caller has no certificate'] }] },
    ],
  });
});

t.test('all that is said of the call is heeded', async t => {
  const when = (key: string, value: string) => ({ key, values: [value] });
  const rules = [
    {
      from: [{ source: { principals: ['td/ns/x/sa/y'], ipBlocks: ['10.0.0.0/8'] } }],
      to: [{ operation: { hosts: ['a.example'], ports: ['8443'], methods: ['POST'] } }],
      when: [
        when('request.headers[x-a]', '1'),
        when('request.auth.claims[group]', 'g'),
        when('request.auth.claims[role]', 'r'),
        when('connection.sni', 's.example'),
      ],
    },
  ];
  const policy = { ...denyInfo, spec: { action: 'ALLOW', rules } };
  const options = [
    ...['--from', 'td/ns/x/sa/y', '--ip', '10.1.1.1', '--host', 'a.example', '--port', '8443', '--header', 'X-A: 1'],
    ...['--claim', 'group=["f","g"]', '--claim', 'role=r', '--sni', 's.example', '--protocol', 'grpc'],
  ];
  const mesh = ['explain', '--offline', '-f', file(t, web, policy, tokens), '--to', 'default/web', 'POST', '/'];
  const { code, out } = await run([...mesh, ...options]);
  t.equal(code, 0, out);
  t.match(out, /^allow: rule 0 of the ALLOW policy default\/no-info matches\n/);
  for (let i = 0; i < 12; i += 2) {
    if (i === 0) continue;
    const without = [...options.slice(0, i), ...options.slice(i + 2)];
    t.equal((await run([...mesh, ...without])).code, 1, `without ${options[i]}`);
  }
});

t.test('it is said whose tokens are taken, and what the one of the call is worth', async t => {
  const ask = async (documents: readonly object[], ...more: string[]) => {
    const mesh = ['--offline', '-f', file(t, web, ...documents), '--from', 'outside', '--to', 'web'];
    return (await run(['explain', ...mesh, ...more])).out;
  };
  t.notMatch(await ask([]), /token/);
  t.match(await ask([], '--claim', 'sub=x'), /\ntoken +is not read: no RequestAuthentication selects the workload/);
  const taken = 'taken here from https://issuer.example; one that is not valid is answered with 401\n';
  t.match(await ask([tokens]), `token     none; ${taken}`);
  t.match(await ask([tokens], '--claim', 'sub=x'), `token     valid, of https://issuer.example; ${taken}`);
  const refused = await ask([tokens], '--claim', 'iss=other');
  t.match(refused, /^deny: the token is of an issuer whose tokens are not taken here: it is answered with 401\n/);
  t.match(refused, `token     refused; ${taken}`);
  t.notMatch(await ask([tokens], '--protocol', 'tcp'), /token/);
});

t.test('what keeps it from an answer ends with 2', async t => {
  const mesh = ['explain', '--offline', '-f', file(t, web, job('twin'), job('twin', {}, { namespace: 'other' }))];
  const ask = async (...more: string[]) => {
    const { code, out, err } = await run([...mesh, ...more]);
    t.equal(code, 2, err);
    t.equal(out, '');
    return err;
  };
  t.match(await ask('--from', 'nobody', '--to', 'web'), /there is no job, service or task nobody/);
  t.match(await ask('--from', 'twin', '--to', 'web'), /twin may be default\/twin, other\/twin: say which/);
  t.match(await ask('--from', 'outside', '--to', 'web', '--header', 'x'), /expected <name>=<value>, got x/);
  t.match(await ask('--from', 'outside', '--to', 'web', '--claim', 'x=[1'), /--claim x: not JSON: \[1/);
  t.match(await ask('--from', 'outside', '--to', 'web', '--ip', 'ten'), /the call: from\.ip: expected an IP address/);
  t.match(
    await ask('--from', 'outside', '--to', 'web', 'GET', 'foo'),
    /begins with "\/", got foo: did you mean \/foo\?/,
  );
  t.match(await ask('--to', 'web'), /expected --from and --to of a call/);
});

t.test('a master is asked for its documents, and files are put in their place', async t => {
  const dir = t.testdir();
  const server = await startApiServer(t, dir);
  server.world.documents = [web, job('shop'), denyInfo];
  const env = { MESOLITE_CONFIG: join(dir, 'config.yaml') };
  await run(['context', 'set', 'x', '--server', server.url, '--ca', server.caFile, '--token-file', server.tokenFile], {
    env,
  });
  const asked = ['explain', '--from', 'shop', '--to', 'web', 'GET', '/admin/x'];
  const now = await run(asked, { env });
  t.equal(now.code, 1, now.err);
  t.match(now.out, /from +edge\.example\/ns\/default\/sa\/shop/);
  const lenient = JSON.stringify({ ...denyInfo, spec: { ...denyInfo.spec, rules: [] } });
  const then = await run([...asked, '-f', '-'], { env, stdin: lenient });
  t.equal(then.code, 0, then.err);
  t.match(then.out, /default\/no-info +DENY +- +no +it has no rules\n/);
});
