import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, realpathSync, statfsSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import t, { type Test } from 'tap';
import { makeTaskIdentities } from '../../src/agent/task-identities.ts';
import { silentLog } from '../../src/base/log.ts';
import { newId } from '../../src/device/dice.ts';
import { openMemoryDirectory } from '../../src/device/memory-directory.ts';
import type { Lowered } from '../../src/device/privileges.ts';
import type { TlsIdentity } from '../../src/identity/contexts.ts';
import { readPrivateKey } from '../../src/identity/keys.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { taskSpec } from '../fixtures/task-spec.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';

const tmpfs = 0x01021994;
const place = ['/run', '/dev/shm'].find(each => existsSync(each) && statfsSync(each).type === tmpfs);
const skip = place === undefined && 'no tmpfs here';
const never = new AbortController().signal;
const spec = taskSpec({ serviceAccount: 'web', identity: true });
const spiffeId = 'spiffe://test.mesolite/ns/default/sa/web';
const nobody: Lowered['owner'] = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : undefined;

function stage(t: Test) {
  const { authority, workload } = makeTestAuthority(new FakeClock().now());
  const memory = openMemoryDirectory([place ?? ''], `mesolite-test-${newId()}`);
  t.teardown(() => memory.keep(new Set()));
  const held = new Map<string, TlsIdentity>();
  let { bundle } = authority;
  const identities = makeTaskIdentities({
    memory,
    certificates: () => held,
    bundle: () => bundle,
    spiffeIdOf: ({ serviceAccount }) => `spiffe://test.mesolite/ns/default/sa/${serviceAccount}`,
    lower: async user => ({ prefix: [], ...(user !== undefined && nobody && { owner: nobody }) }),
    log: silentLog,
  });
  const issue = () => {
    held.set(spiffeId, workload(spiffeId));
    identities.refresh();
    return held.get(spiffeId);
  };
  const addRoot = () => {
    bundle = { ...bundle, roots: [...bundle.roots, ...makeTestAuthority(1).authority.bundle.roots] };
    identities.refresh();
  };
  return { identities, memory, issue, addRoot };
}

function read(folder: string) {
  const text = (name: string) => readFileSync(join(folder, name), 'utf8');
  return { chain: text('svid.pem'), key: text('svid_key.pem'), roots: text('svid_bundle.pem') };
}

t.test('a task starts when its certificate is there, and finds chain, key and roots in memory', { skip }, async t => {
  const { identities, issue } = stage(t);
  const said: string[] = [];
  const ready = identities.ready(spec, message => said.push(message), never).then(() => said.push('ready'));
  await identities.ready(taskSpec(), message => said.push(message), never);
  t.same(said, ['waits for the certificate of service account web'], 'one that asks for none waits for nothing');
  const issued = issue();
  await ready;
  t.equal(said.at(-1), 'ready');
  const { MESOLITE_IDENTITY: folder = '' } = identities.environmentOf(spec, undefined);
  t.equal(statfsSync(folder).type, tmpfs);
  const { chain, key, roots } = read(folder);
  t.equal(chain, issued?.chainPem);
  const leaf = new X509Certificate(chain);
  t.equal(leaf.subjectAltName, `URI:${spiffeId}`);
  t.ok(leaf.checkPrivateKey(readPrivateKey(key, 'key').privateKey));
  t.equal(roots.match(/BEGIN CERTIFICATE/g)?.length, 1);
  t.same(identities.environmentOf(taskSpec(), undefined), {});
});

t.test('the files are for the user of the task alone', { skip }, async t => {
  const { identities, issue } = stage(t);
  issue();
  const { MESOLITE_IDENTITY: folder = '' } = identities.environmentOf({ ...spec, user: 'nobody' }, nobody);
  const file = join(folder, 'svid_key.pem');
  t.equal(statSync(file).mode & 0o777, 0o400);
  if (nobody === undefined) return;
  const runAs = (id: number, ...command: [string, ...string[]]) => {
    const [program, ...args] = command;
    return () => execFileSync(program, args, { uid: id, gid: id, stdio: 'pipe' });
  };
  t.doesNotThrow(runAs(nobody.uid, 'cat', file));
  t.throws(runAs(65_533, 'cat', file), /Permission denied/);
  t.throws(
    runAs(nobody.uid, 'ln', '-s', '/elsewhere', `${folder}/`),
    /Permission denied/,
    'it cannot lead the agent away',
  );
  t.not(identities.environmentOf(spec, undefined).MESOLITE_IDENTITY, folder, 'another user has another folder');
});

t.test('a renewal changes the three files at once, and who has just opened them reads on', { skip }, async t => {
  const { identities, memory, issue, addRoot } = stage(t);
  issue();
  const { MESOLITE_IDENTITY: folder = '' } = identities.environmentOf(spec, undefined);
  const opened = realpathSync(folder);
  const before = read(folder);
  identities.refresh();
  t.equal(realpathSync(folder), opened, 'what is as it was is not written again');
  const renewed = issue();
  t.match(read(folder), { chain: renewed?.chainPem, key: renewed?.keyPem });
  t.same(read(opened), before);
  addRoot();
  t.equal(read(folder).roots.match(/BEGIN CERTIFICATE/g)?.length, 2);
  t.equal(readdirSync(memory.path).length, 3, 'a link, what it leads to, and the one before');
});

t.test('after a start of the agent the files of tasks that run go on, and those of others go', { skip }, async t => {
  const { identities, memory, issue } = stage(t);
  await identities.keep([{ ...spec, user: 'nobody' }]);
  issue();
  const [folder = ''] = readdirSync(memory.path).filter(name => !name.includes('~'));
  t.equal(folder, basename(identities.environmentOf({ ...spec, user: 'nobody' }, nobody).MESOLITE_IDENTITY ?? ''));
  if (nobody !== undefined) t.equal(statSync(join(memory.path, folder, 'svid_key.pem')).uid, nobody.uid);
  await identities.keep([taskSpec()]);
  t.notOk(existsSync(memory.path));
});

t.test('a task that is ended while it waits does not start', { skip }, async t => {
  const { identities } = stage(t);
  const ended = new AbortController();
  const ready = identities.ready(spec, () => {}, ended.signal);
  ended.abort();
  await t.rejects(ready, { name: 'AbortError' });
});
