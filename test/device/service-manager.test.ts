import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { heldPorts, openServiceManager, whyNotFollowed } from '../../src/device/service-manager.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { until } from '../fixtures/fleet-until.ts';

/** As a systemd of ours prints it. */
const shown = `Listen=[::]:15008 (Stream)
ActiveState=active

Listen=127.0.0.1:15001 (Stream)
ActiveState=inactive
`;
const home = t.testdir({
  'systemd-notify': '#!/bin/sh\necho "$*" >>"$NOTIFY_SOCKET"\n',
  systemctl: `#!/bin/sh\n[ "$*" = "show --property=ActiveState,Listen a.socket b.socket" ] && cat <<'END'\n${shown}END\n`,
});
const log = join(home, 'told');
const env = { NOTIFY_SOCKET: log, PATH: `${home}:/usr/bin:/bin`, WATCHDOG_USEC: '180000000' };
const told = () => readFileSync(log, 'utf8').trim().split('\n');

for (const program of ['systemd-notify', 'systemctl']) chmodSync(join(home, program), 0o755);
t.beforeEach(() => writeFileSync(log, ''));

t.test('systemd tells which ports it keeps open for a service', async t => {
  t.same(await heldPorts(['a.socket', 'b.socket'], env), new Set([15008]));
  t.same(await heldPorts(['a.socket'], { PATH: t.testdir() }), new Set(), 'where there is none');
});

t.test('systemd is told which process is the service, and how it is', async t => {
  const manager = openServiceManager(env, 7);
  await manager.isUp();
  await manager.isReloading();
  await manager.isStopping();
  t.same(told(), ['MAINPID=7 READY=1', 'RELOADING=1', 'STOPPING=1']);
});

t.test('a process says that it is alive three times in the time that the unit gives it, until it stops', async t => {
  const clock = new FakeClock();
  const stop = new AbortController();
  const alive = openServiceManager(env, 7).stayAlive(clock, stop.signal);
  for (let times = 1; times <= 2; times++) {
    await clock.untilSleeping();
    await clock.advance(60_000);
    await until('it is told', () => told().filter(line => line === 'WATCHDOG=1').length === times);
  }
  stop.abort();
  await alive;
  t.equal(told().filter(line => line === 'WATCHDOG=1').length, 2);
});

t.test('it says again that it is the service, but not while another process may take its place', async t => {
  const clock = new FakeClock();
  const stop = new AbortController();
  const manager = openServiceManager(env, 7);
  const alive = manager.stayAlive(clock, stop.signal);
  const pass = async () => {
    const before = told().length;
    await clock.untilSleeping();
    await clock.advance(60_000);
    await until('it is told', () => told().length > before);
  };
  await manager.isUp();
  await pass();
  await manager.isReloading();
  await pass();
  stop.abort();
  await alive;
  t.same(told(), ['MAINPID=7 READY=1', 'MAINPID=7 WATCHDOG=1', 'RELOADING=1', 'WATCHDOG=1']);
});

t.test('where nobody listens, nothing is said', async t => {
  const { NOTIFY_SOCKET: _, ...nobody } = env;
  const manager = openServiceManager(nobody, 7);
  await manager.isUp();
  await manager.stayAlive(new FakeClock(), new AbortController().signal);
  const { WATCHDOG_USEC: __, ...unwatched } = env;
  await openServiceManager(unwatched, 7).stayAlive(new FakeClock(), new AbortController().signal);
  t.same(told(), ['']);
});

t.test('only where systemd may be told so, another process can follow its own', async t => {
  t.match(whyNotFollowed({ SYSTEMD_EXEC_PID: '7' }, 7), /NotifyAccess=all/);
  t.equal(whyNotFollowed({ SYSTEMD_EXEC_PID: '7', NOTIFY_SOCKET: '/run/systemd/notify' }, 7), undefined);
  t.equal(whyNotFollowed({ SYSTEMD_EXEC_PID: '6' }, 7), undefined);
});
