import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const main = fileURLToPath(new URL('../fixtures/cli-main.js', import.meta.url));

function start(...argv: readonly string[]) {
  const child = spawn(process.execPath, [main, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
  return { child, exited: once(child, 'exit') };
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  t.test(`${signal} ends a role cleanly`, async t => {
    const { child, exited } = start('master');
    await once(child.stdout, 'data');
    child.kill(signal);
    t.same(await exited, [0, null]);
  });
}

t.test('a second SIGINT does not wait for a role that does not end', async t => {
  const { child, exited } = start('agent');
  await once(child.stdout, 'data');
  // sent apart, since two that are pending at once are delivered as one
  child.kill('SIGINT');
  child.kill('SIGTERM');
  t.same(await exited, [130, null]);
});

t.test('a reader that has seen enough is no error', async t => {
  const { child, exited } = start('--help');
  child.stdout.destroy();
  t.same(await exited, [0, null]);
});
