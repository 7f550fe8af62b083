import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeTaskSecrets } from '../../src/agent/task-secrets.ts';
import { newId } from '../../src/device/dice.ts';
import { openMemoryDirectory } from '../../src/device/memory-directory.ts';
import { deriveSealKey, seal } from '../../src/identity/sealing.ts';
import { sealContext } from '../../src/model/secret.ts';
import { taskSpec } from '../fixtures/task-spec.ts';

const tmpfs = 0x01021994;
const memory = ['/run', '/dev/shm'].find(place => existsSync(place) && statfsSync(place).type === tmpfs);
const key = deriveSealKey('of this node');

function specWith(secrets: readonly { name: string; value: string; env?: string; file?: string }[]) {
  const { id } = taskSpec();
  return taskSpec({
    secrets: secrets.map(({ value, ...secret }) => ({
      ...secret,
      version: 1,
      sealed: seal(key.publicKey, Buffer.from(value), sealContext(id, { name: secret.name, version: 1 })),
    })),
  });
}

t.test(
  'a task finds its secrets in variables and files, which are in memory and its own',
  {
    skip: memory === undefined ? 'no tmpfs here' : false,
  },
  async t => {
    const directory = openMemoryDirectory([memory ?? ''], `mesolite-test-${newId()}`);
    t.teardown(() => directory.keep(new Set()));
    const secrets = makeTaskSecrets({ key, memory: directory });
    const spec = specWith([
      { name: 'token', value: 'grüß', env: 'TOKEN' },
      { name: 'key', value: 'bytes\0\n', file: 'server.key' },
    ]);
    const variables = secrets.environmentOf(spec);
    t.equal(variables.TOKEN, 'grüß');
    const file = join(variables.MESOLITE_SECRETS ?? '', 'server.key');
    t.equal(readFileSync(file, 'utf8'), 'bytes\0\n');
    t.equal(statSync(file).mode & 0o777, 0o400);
    t.equal(statfsSync(file).type, tmpfs);
    t.same(secrets.environmentOf(spec), variables, 'a restart finds the same');
    if (process.getuid?.() === 0) {
      secrets.environmentOf(spec, { uid: 65_534, gid: 65_534 });
      t.equal(execFileSync('cat', [file], { uid: 65_534, gid: 65_534, encoding: 'utf8' }), 'bytes\0\n', 'another user');
    }
    secrets.keep(new Set([spec.id]));
    t.ok(existsSync(file));
    secrets.keep(new Set());
    t.notOk(existsSync(file));
    t.notOk(existsSync(directory.path), 'no trace is left');
    t.same(secrets.environmentOf(taskSpec()), {});
  },
);

t.test(
  'what does not open keeps the task from starting, and the reason names the secret and not its value',
  async t => {
    const secrets = makeTaskSecrets({ key: deriveSealKey('of another'), memory: openAny() });
    const spec = specWith([{ name: 'token', value: 'hidden', env: 'TOKEN' }]);
    t.throws(() => secrets.environmentOf(spec), {
      code: 'UNTRUSTED',
      message: /^secret token cannot be opened: it was not/,
    });
    const zero = makeTaskSecrets({ key, memory: openAny() });
    t.throws(() => zero.environmentOf(specWith([{ name: 'token', value: 'a\0b', env: 'TOKEN' }])), /zero byte/);
    t.throws(() => makeTaskSecrets({ key, memory: undefined }).environmentOf(spec), { code: 'CONFLICT' });
  },
);

t.test('a disk is no place for secrets, nor a folder of somebody else', async t => {
  const dir = t.testdir();
  if (statfsSync(dir).type !== tmpfs) {
    t.throws(() => openMemoryDirectory([dir], 'x'), { code: 'START_FAILED', message: /is on a disk/ });
  }
  t.throws(() => openMemoryDirectory([join(dir, 'none')], 'x'), { code: 'START_FAILED' });
  if (memory === undefined) return;
  const name = `mesolite-test-${newId()}`;
  mkdirSync(join(memory, name), { mode: 0o755 });
  t.teardown(() => rmdirSync(join(memory, name)));
  t.throws(() => openMemoryDirectory([memory], name), { message: /not a directory of this user alone/ });
});

/** It is not written to. */
function openAny() {
  return { path: '/nowhere', write: () => {}, swap: () => {}, keep: () => {} };
}
