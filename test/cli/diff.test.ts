import { join } from 'node:path';
import t, { type Test } from 'tap';
import { maxReplayed } from '../../src/cli/recorded-calls.ts';
import { startApiServer } from '../fixtures/api-server.ts';
import { auditEntry } from '../fixtures/api-views.ts';
import { run } from '../fixtures/cli-run.ts';

const job = (name: string) => ({
  apiVersion: 'mesolite/v1',
  kind: 'Job',
  metadata: { name },
  spec: { command: ['sleep', '9'], ports: [{ name: 'http' }], service: { port: 'http' } },
});
const policy = (name: string, rules: object[], action = 'DENY') => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name },
  spec: { selector: { matchLabels: { app: 'web' } }, action, rules },
});
const to = (path: string) => ({ to: [{ operation: { paths: [path] } }] });
const source = 'edge.example/ns/default/sa/shop';
const destination = 'edge.example/ns/default/sa/web';
const entry = (path: string, more: object = {}) => {
  const made = auditEntry(1, {
    direction: 'inbound',
    source,
    destination,
    task: 'web.default.0-a',
    method: 'GET',
    path,
  });
  return made.kind === 'record' ? { ...made, record: { ...made.record, ...more } } : made;
};

async function stage(t: Test) {
  const dir = t.testdir();
  const server = await startApiServer(t, dir);
  const env = { MESOLITE_CONFIG: join(dir, 'config.yaml') };
  const options = ['--server', server.url, '--ca', server.caFile, '--token-file', server.tokenFile];
  await run(['context', 'set', 'x', ...options], { env });
  const diff = (sent: object[], ...more: string[]) =>
    run(['diff', '-f', '-', ...more], { env, stdin: sent.map(each => JSON.stringify(each)).join('\n---\n') });
  return { world: server.world, calls: server.calls, diff };
}

t.test('documents that would be added, changed and removed are shown as diff(1) does', async t => {
  const { world, diff } = await stage(t);
  world.documents = [job('web'), policy('old', [to('/a')])];
  const added = await diff([policy('new', [to('/x')])]);
  t.equal(added.code, 1, added.err);
  t.match(
    added.out,
    /^--- a\/AuthorizationPolicy\/default\/new\n\+\+\+ b\/AuthorizationPolicy\/default\/new\n@@ -0,0 \+1,\d+ @@\n\+apiVersion/,
  );
  const changed = await diff([policy('old', [to('/b')])]);
  t.match(changed.out, /\n- +- \/a\n\+ +- \/b\n/);
  const removed = await diff([policy('old', [])], '--delete');
  t.match(removed.out, /@@ -1,\d+ \+0,0 @@\n-apiVersion/);
  const same = await diff([policy('old', [to('/a')])]);
  t.match(same, { code: 0, out: '', err: 'nothing differs\n' });
  const bad = await diff([{ ...policy('old', [to('/a')]), spec: { rules: 1 } }]);
  t.match(bad, { code: 2, out: '', err: /standard input: spec\.rules: / });
});

t.test('recorded calls are decided again, and those that change are told with the rule', async t => {
  const { world, calls, diff } = await stage(t);
  world.documents = [job('web'), policy('old', [to('/open')])];
  world.entries = [
    entry('/closed'),
    entry('/closed', { host: 'web' }),
    entry('/open', { verdict: 'deny', status: 403 }),
    entry('/same'),
    entry('/x', { task: 'gone.default.0-a' }),
    entry('/x', { direction: 'outbound' }),
  ];
  const { code, out, err } = await diff([policy('old', [to('/closed')])], '--since', '2h');
  t.equal(code, 1, err);
  t.match(out, /\n2 of 5 calls would now be denied, 1 would now be allowed:\n/);
  t.match(
    out,
    / +2 +edge\.example\/ns\/default\/sa\/shop +edge\.example\/ns\/default\/sa\/web +GET \/closed +deny +default\/old#0\n/,
  );
  t.match(out, /GET \/open +allow +no-policy\n/);
  t.match(out, /\n1 calls were to jobs that are gone, and are left out\n/);
  const asked = calls.map(({ what }) => what).filter(what => what.includes('audit'));
  t.match(asked, [/since=\d+&limit=1000/]);
});

t.test('of tokens it is said that no record has them', async t => {
  const { world, diff } = await stage(t);
  world.documents = [job('web')];
  const spec = { jwtRules: [{ issuer: 'https://id.example/', jwksUri: 'https://id.example/keys' }] };
  const tokens = { ...policy('people', []), kind: 'RequestAuthentication', spec };
  t.match(await diff([tokens]), { code: 1, err: /^what a RequestAuthentication changes for calls is not known: / });
});

t.test('all calls of the last hour are looked at, page by page', async t => {
  const { world, calls, diff } = await stage(t);
  world.documents = [job('web')];
  const gap = { kind: 'gap', node: 'pi-1', number: 7, at: 0, reason: 'records 0.7 to 0.9 are missing' };
  const old = Array.from({ length: 1_400 }, () => entry('/old'));
  world.entries = [...Array.from({ length: 1_100 }, () => entry('/new')), gap, ...old];
  const { out } = await diff([policy('new', [to('/old')])]);
  t.match(out, /\n1,400 of 2,500 calls would now be denied, 0 would now be allowed:\n/);
  t.notMatch(out, /there were more calls/);
  const pages = calls.filter(({ what }) => what.includes('/v1/audit?')).map(({ what }) => what.split('?')[1]);
  const since = new URLSearchParams(pages[0]).get('since');
  t.same(pages, [
    `since=${since}&limit=1000`,
    `since=${since}&limit=1000&after=1000`,
    `since=${since}&limit=1000&after=2000`,
  ]);
});

t.test('of more calls than are looked at the newest ones are, and that is said', async t => {
  const { world, diff } = await stage(t);
  world.documents = [job('web')];
  const made = entry('/x');
  world.entries = Array.from({ length: maxReplayed + 1 }, () => made);
  const { out } = await diff([policy('new', [to('/x')])]);
  t.match(out, /\n100,000 of 100,000 calls would now be denied/);
  t.match(out, /there were more calls: the newest 100,000 were looked at/);
  world.entries.pop();
  t.notMatch((await diff([policy('new', [to('/x')])])).out, /there were more calls/);
});

t.test('what records do not tell is said plainly, and json has all of it', async t => {
  const { world, diff } = await stage(t);
  world.documents = [job('web')];
  world.entries = [entry('/a'), entry('/a')];
  const when = { when: [{ key: 'request.headers[x-role]', values: ['guest'] }] };
  const { out } = await diff([policy('new', [when])]);
  t.match(
    out,
    /\n0 of 2 calls would now be denied, 0 would now be allowed\n2 calls may be decided otherwise, by what their records do not have:\n +default\/new#0: request\.headers\[x-role\]\n/,
  );
  const json = JSON.parse((await diff([policy('new', [when])], '-o', 'json')).out);
  t.match(json, {
    changes: [{ document: 'AuthorizationPolicy default/new', change: 'added' }],
    effect: { calls: 2, inexact: 2 },
  });
  const documents = JSON.parse((await diff([policy('new', [when])], '--no-replay', '-o', 'json')).out);
  t.equal(documents.effect, undefined);
});
