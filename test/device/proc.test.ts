import { createServer } from 'node:net';
import t from 'tap';
import { cpuShare, listeningPorts, ProcReader, parseCpuTimes, parseMemory } from '../../src/device/proc.ts';

t.test('busy is all but idle and waiting, and guests are not counted twice', async t => {
  t.strictSame(parseCpuTimes('cpu  100 10 50 700 40 5 5 10 60 7\ncpu0 …'), { busy: 180, total: 920 });
  t.strictSame(parseCpuTimes('cpu  100 0 50 850'), { busy: 150, total: 1000 }, 'an old kernel with four fields');
  t.equal(parseCpuTimes(''), undefined);
  t.equal(parseCpuTimes('intr 1'), undefined);
});

t.test('the share is between nothing and all, also when counters stand still or go back', async t => {
  t.equal(cpuShare({ busy: 100, total: 1000 }, { busy: 150, total: 1200 }), 0.25);
  t.equal(cpuShare({ busy: 100, total: 1000 }, { busy: 100, total: 1000 }), 0);
  t.equal(cpuShare({ busy: 100, total: 1000 }, { busy: 90, total: 1010 }), 0);
  t.equal(cpuShare({ busy: 0, total: 0 }, { busy: 30, total: 20 }), 1);
});

t.test('available memory is what the kernel says, or is reckoned on old kernels', async t => {
  t.strictSame(parseMemory('MemTotal:  1024000 kB\nMemFree: 1 kB\nMemAvailable:  512000 kB\n'), {
    totalMb: 1000,
    availableMb: 500,
  });
  const old = 'MemTotal: 102400 kB\nMemFree: 10240 kB\nBuffers: 1024 kB\nCached: 9216 kB\nSwapCached: 4 kB\n';
  t.strictSame(parseMemory(old), { totalMb: 100, availableMb: 20 });
  t.equal(parseMemory('nothing'), undefined);
  t.equal(parseMemory('MemTotal: 0 kB\n'), undefined);
});

t.test(
  'a port that is listened to is seen, of both families',
  { skip: process.platform !== 'linux' && 'no /proc here' },
  async t => {
    const server = createServer();
    const port = await new Promise<number>(resolve => {
      server.listen(0, '127.0.0.1', () => {
        const address = server.address();
        resolve(typeof address === 'object' ? (address?.port ?? 0) : 0);
      });
    });
    t.ok(listeningPorts()?.has(port));
    await new Promise(resolve => server.close(resolve));
    t.notOk(listeningPorts()?.has(port));

    const line = (port: string, state: string) => `   0: 00000000:${port} 00000000:0000 ${state} 00000000:00000000\n`;
    const root = t.testdir({
      proc: {
        net: {
          tcp: `  sl  local_address\n${line('1F90', '0A')}${line('1F91', '01')}`,
          tcp6: line('1F92', '0A').replaceAll('00000000:', `${'0'.repeat(32)}:`),
        },
      },
    });
    t.strictSame([...(listeningPorts(root) ?? [])], [0x1f90, 0x1f92], 'who is connected does not listen');
  },
);

t.test('a system without /proc is told apart', async t => {
  const root = t.testdir({ proc: { stat: 'cpu  1 2 3 4\n' } });
  t.throws(() => new ProcReader(root), { code: 'ENOENT' });
  t.equal(listeningPorts(root), undefined);
});
