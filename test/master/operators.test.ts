import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { hashApiToken, makeApiToken } from '../../src/identity/token.ts';
import { adminTokenFile, makeOperators } from '../../src/master/operators.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { openTestStore } from '../fixtures/master-store.ts';

async function stage(t: Test) {
  const dir = t.testdir();
  const { operatorTokens } = await openTestStore(t, dir);
  const log = new CapturedLog();
  const operators = makeOperators({ tokens: operatorTokens, clock: new FakeClock(), log });
  const file = join(dir, adminTokenFile);
  return { dir, file, operatorTokens, operators, log, token: () => readFileSync(file, 'utf8').trim() };
}

t.test('the first start makes an admin whose token only the owner of the file can read', async t => {
  const { dir, file, operators, operatorTokens, token, log } = await stage(t);
  await operators.ensureAdmin(dir);
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.same(await operators.authenticate(token()), { name: 'admin', role: 'admin' });
  const [stored] = await operatorTokens.list();
  t.match(stored, { name: 'admin', hash: hashApiToken(token()) });
  for (const name of readdirSync(dir)) {
    if (name !== adminTokenFile) t.notOk(readFileSync(join(dir, name)).includes(token()), `${name}: stored hashed`);
  }
  t.notOk(JSON.stringify(log.entries).includes(token()));
});

t.test('the next starts leave it as it is', async t => {
  const { dir, operators, token } = await stage(t);
  await operators.ensureAdmin(dir);
  const first = token();
  await operators.ensureAdmin(dir);
  t.equal(token(), first);
});

t.test('a start that was cut off after the file makes another token, and hides it as well', async t => {
  const { dir, file, operators, token } = await stage(t);
  writeFileSync(file, `${makeApiToken()}\n`);
  chmodSync(file, 0o644);
  const lost = token();
  await operators.ensureAdmin(dir);
  t.not(token(), lost);
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.equal(await operators.authenticate(lost), undefined);
  t.match(await operators.authenticate(token()), { name: 'admin' });
});

t.test('whoever has no token is nobody, and each token has its role', async t => {
  const { dir, operators, operatorTokens } = await stage(t);
  await operators.ensureAdmin(dir);
  const readers = makeApiToken();
  await operatorTokens.add({ name: 'ann', hash: hashApiToken(readers), role: 'reader', createdAt: 1 });
  t.same(await operators.authenticate(readers), { name: 'ann', role: 'reader' });
  for (const wrong of ['', makeApiToken(), hashApiToken(readers), `${readers} `]) {
    t.equal(await operators.authenticate(wrong), undefined);
  }
});
