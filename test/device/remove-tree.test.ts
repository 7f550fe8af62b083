import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';

t.test('what nobody may write to goes all the same, and what a link leads to stays as it is', async t => {
  const main = fileURLToPath(new URL('../fixtures/remove-tree-main.js', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [main, t.testdir()]);
  t.same(JSON.parse(stdout), { isThere: false, kept: 0o555 });
});
