import t from 'tap';
import { systemdSockets } from '../../src/device/given-sockets.ts';

t.test('sockets of systemd are found by the names that the unit gives them', async t => {
  const sockets = systemdSockets({ LISTEN_PID: '7', LISTEN_FDS: '2', LISTEN_FDNAMES: 'mesh:outbound:more' }, 7);
  t.same(await sockets?.take('mesh'), { fd: 3 });
  t.same(await sockets?.take('outbound'), { fd: 4 });
  t.equal(await sockets?.take('more'), undefined, 'there are but two');
  t.equal(await sockets?.take('other'), undefined);
});

t.test('what is meant for another process, or is no number, is not taken', async t => {
  for (const env of [
    {},
    { LISTEN_PID: '8', LISTEN_FDS: '1', LISTEN_FDNAMES: 'mesh' },
    { LISTEN_PID: '7', LISTEN_FDS: 'x', LISTEN_FDNAMES: 'mesh' },
    { LISTEN_PID: '7', LISTEN_FDS: '0', LISTEN_FDNAMES: 'mesh' },
  ]) {
    t.equal(systemdSockets(env, 7), undefined);
  }
});
