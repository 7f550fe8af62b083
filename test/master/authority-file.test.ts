import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openFiles } from '../../src/device/files.ts';
import { createRoot } from '../../src/identity/root.ts';
import { type AuthorityOptions, openAuthorityFile } from '../../src/master/authority-file.ts';

const now = Date.UTC(2030, 0, 1);
const trustDomain = 'test.mesolite';
const passphrase = 'correct horse battery staple';

async function open(directory: string, more: Partial<AuthorityOptions> = {}) {
  const file = await openAuthorityFile(await openFiles(directory), { trustDomain, ...more }, now);
  const [generation] = await file.load();
  if (generation === undefined) throw new Error('no generation');
  return { file, generation };
}

/** All that is in the files of a directory, copies of before too. */
function contents(directory: string): string {
  return readdirSync(directory)
    .map(name => readFileSync(join(directory, name), 'latin1'))
    .join('\n');
}

t.test('the authority is made at the first start and stays the same', async t => {
  const dir = t.testdir();
  const first = await open(dir);
  const again = await open(dir);
  t.equal(again.generation.state.issuingPem, first.generation.state.issuingPem);
  t.equal(again.generation.authority.rootSha256, first.generation.authority.rootSha256);
  t.notMatch(contents(dir), /BEGIN (EC )?PRIVATE KEY/, 'no key in the clear');
  await t.rejects(open(dir, { trustDomain: 'other' }), {
    code: 'START_FAILED',
    message: /not of the trust domain other/,
  });
});

t.test('under a passphrase a copy of the whole directory is of no use', async t => {
  const dir = t.testdir();
  const { file } = await open(dir, { passphrase });
  t.notOk(readdirSync(dir).includes('authority-key'), 'the key is never on the disk in the clear');
  t.notOk(contents(dir).includes(file.settings.passphrase ?? '-'));
  await t.rejects(open(dir), { code: 'START_FAILED', message: /under a passphrase: give it with/ });
  await t.rejects(open(dir, { passphrase: `${passphrase}!` }), { code: 'START_FAILED', message: /does not open/ });
  const again = await open(dir, { passphrase });
  t.equal(again.file.settings.passphrase, file.settings.passphrase);
  for (const short of ['', 'short', 'x'.repeat(1025)]) {
    await t.rejects(open(t.testdir(), { passphrase: short }), { code: 'START_FAILED', message: /12 to 1024/ });
  }
});

t.test('a passphrase that comes later takes the open key away, every copy of it', async t => {
  const dir = t.testdir();
  const before = await open(dir);
  const key = before.file.settings.passphrase ?? '-';
  t.ok(contents(dir).includes(key), 'it lay open');
  const after = await open(dir, { passphrase });
  t.equal(after.generation.authority.rootSha256, before.generation.authority.rootSha256, 'the same authority');
  t.notOk(contents(dir).includes(key));
  await t.rejects(open(dir), { code: 'START_FAILED' });
});

t.test('a start that was cut off between the two keys goes on with the passphrase', async t => {
  const dir = t.testdir();
  const { file } = await open(dir);
  const key = Buffer.from(file.settings.passphrase ?? '');
  await open(dir, { passphrase });
  const files = await openFiles(dir);
  await files.write('authority-key', key);
  await open(dir, { passphrase });
  t.equal(await files.read('authority-key'), undefined);
});

t.test('the root may be the user’s, and only at the first start', async t => {
  const dir = t.testdir();
  const root = createRoot({ trustDomain }, now);
  const { generation, file } = await open(dir, { root });
  t.equal(generation.state.rootPem, root.rootPem);
  t.match(await file.rootKey(root.rootPem), { rootKeyPem: /ENCRYPTED PRIVATE KEY/ }, 'its key is kept as ours are');
  t.ok(await open(dir, { root }), 'the same one again');
  const other = createRoot({ trustDomain }, now);
  await t.rejects(open(dir, { root: other }), { code: 'START_FAILED', message: /has another root already/ });
  const foreign = createRoot({ trustDomain: 'other' }, now);
  const refusal = { code: 'START_FAILED', message: /it is for spiffe:\/\/other, not for the trust domain/ };
  await t.rejects(open(t.testdir({}), { root: foreign }), refusal);
});

t.test('the key of the root can be taken away, and what is in use goes on', async t => {
  const dir = t.testdir();
  await open(dir);
  await (await openFiles(dir)).remove('authority-root');
  const { file, generation } = await open(dir);
  t.equal(await file.rootKey(generation.state.rootPem), undefined);
});
