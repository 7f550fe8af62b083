import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { readTap, rooms, testsIn } from '../../scripts/check/arm/unit-tests.ts';

t.test('what a process of tests said is read, also of one that died', async t => {
  const passed =
    'ok 1 - one # time=2ms\nok 2 - two # SKIP no root\n1..2\n# { total: 3, pass: 2, skip: 1 }\n# time=9ms\n';
  t.same(readTap({ code: 0, output: passed }), { passed: 2, failed: 0, skipped: 1, failures: [] });
  const failed = '    not ok 1 - inner\nnot ok 1 - outer # time=3ms\n# { total: 2, pass: 1, fail: 1 }\n';
  t.same(readTap({ code: 1, output: failed }), { passed: 1, failed: 1, skipped: 0, failures: ['inner', 'outer'] });
  const died = readTap({ code: null, output: 'ok 1 - one\nqemu: uncaught target signal 11' });
  t.match(died, { passed: 0, failed: 1, failures: [/uncaught target signal/] });
});

t.test('each room of unit tests has files', async t => {
  for (const room of rooms) t.not(testsIn(room).length, 0, room);
});

t.test('who lacks what the checks stand on is told what to do', async t => {
  for (const [file, program] of [
    ['arm', 'mmdebstrap'],
    ['boot', 'qemu-system-x86_64'],
  ]) {
    const path = fileURLToPath(new URL(`../../scripts/check/${file}.js`, import.meta.url));
    const { status, stderr } = spawnSync(process.execPath, [path], { env: { PATH: '/nowhere' }, encoding: 'utf8' });
    t.equal(status, 2);
    const isRoot = process.getuid?.() === 0 && process.platform === 'linux';
    t.match(stderr, isRoot ? new RegExp(`${program}.* missing: apt-get install`) : 'as root');
  }
});
