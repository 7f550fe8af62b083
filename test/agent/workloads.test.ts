import t from 'tap';
import { callerSecret, makeWorkloads } from '../../src/agent/workloads.ts';
import type { TlsIdentity } from '../../src/identity/contexts.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { taskSpec } from '../fixtures/task-spec.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';

const trustDomain = 'test.mesolite';
const { authority, workload } = makeTestAuthority(new FakeClock().now());
const taskSecret = Buffer.alloc(32, 7).toString('base64url');

const account = (name: string) => `spiffe://${trustDomain}/ns/default/sa/${name}`;

const web = taskSpec({
  id: 'web.default.0-a',
  job: 'web',
  serviceAccount: 'web',
  labels: { app: 'web' },
  ports: [{ name: 'http', protocol: 'http', number: 20_001 }],
  service: { name: 'web', port: 'http' },
  upstreams: ['db', 'mail.other'],
});

/** Workloads of a node that has no certificates yet; `certify` gives it one. */
function stage() {
  const held = new Map<string, TlsIdentity>();
  const certificates = {
    get: (spiffeId: string) => held.get(spiffeId),
    put() {},
    async load() {},
    async want() {},
    async onAnswer() {},
    async run() {},
    check() {},
    renewOwn() {},
    async renewAll() {},
  };
  const workloads = makeWorkloads(
    { certificates: () => certificates, bundle: () => authority.bundle },
    { trustDomain, taskSecret },
  );
  const certify = (name: string) => {
    held.set(account(name), workload(account(name)));
    workloads.onIssued(account(name));
  };
  const known = (id: string) => workloads.known.value.get(id);
  return { workloads, certify, known };
}

t.test('a task is in the mesh once it has a certificate, and not before', async t => {
  const { workloads, certify, known } = stage();
  workloads.update([{ spec: web, ready: true }]);
  t.equal(known(web.id), undefined);
  certify('other');
  t.equal(known(web.id), undefined);
  certify('web');
  t.match(known(web.id), {
    task: web.id,
    spiffeId: account('web'),
    identity: { namespace: 'default', serviceAccount: 'web', labels: { app: 'web' } },
    callerSecret: callerSecret(taskSecret, web.id),
  });
  t.same([...(known(web.id)?.upstreams ?? [])], ['db.default', 'mail.other']);
  workloads.update([]);
  t.equal(known(web.id), undefined);
});

t.test('only a task that is ready has an endpoint, and only one that serves', async t => {
  const { workloads, certify, known } = stage();
  const client = taskSpec({ id: 'client.default.0-b', serviceAccount: 'web' });
  certify('web');
  workloads.update([
    { spec: web, ready: false },
    { spec: client, ready: true },
  ]);
  t.equal(known(web.id)?.endpoint, undefined);
  t.equal(known(client.id)?.endpoint, undefined);
  workloads.update([
    { spec: web, ready: true },
    { spec: client, ready: true },
  ]);
  t.same(known(web.id)?.endpoint, {
    service: 'web.default',
    serverName: '0-a.web.default.mesh',
    protocol: 'http',
    host: '127.0.0.1',
    port: 20_001,
  });
  t.equal(known(client.id)?.endpoint, undefined);
});

t.test('a task that did not change is the same object, so that the proxy leaves it alone', async t => {
  const { workloads, certify, known } = stage();
  const other = taskSpec({ id: 'web.default.1-b', serviceAccount: 'web' });
  certify('web');
  workloads.update([{ spec: web, ready: true }]);
  const before = known(web.id);
  workloads.update([
    { spec: web, ready: true },
    { spec: other, ready: true },
  ]);
  t.equal(known(web.id), before);
  t.equal(known(other.id)?.tls, before?.tls, 'tasks of one account share one context');
  workloads.update([{ spec: web, ready: false }]);
  t.not(known(web.id), before, 'its endpoint has closed');
});

t.test('a renewed certificate is used for new connections, and the task stays the same', async t => {
  const { workloads, certify, known } = stage();
  certify('web');
  workloads.update([{ spec: web, ready: true }]);
  const before = known(web.id);
  const context = before?.tls.value;
  certify('web');
  t.equal(known(web.id), before);
  t.not(before?.tls.value, context);
});

t.test('a task keeps its secret over restarts of the agent, and no two tasks have the same', async t => {
  t.equal(callerSecret(taskSecret, 'a'), callerSecret(taskSecret, 'a'));
  t.not(callerSecret(taskSecret, 'a'), callerSecret(taskSecret, 'b'));
  t.not(callerSecret(taskSecret, 'a'), callerSecret(Buffer.alloc(32, 8).toString('base64url'), 'a'));
  t.match(callerSecret(taskSecret, 'a'), /^[A-Za-z0-9_-]{43}$/);
});
