import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { MasterOptions } from '../../src/cli/roles.ts';
import { run } from '../fixtures/cli-run.ts';

t.test('the files of mosquitto are printed without a master, each under its name', async t => {
  const { code, out, err } = await run(['broker', 'config', 'mosquitto', '--port', '1883', '--dir', '/srv/m']);
  t.equal(code, 0);
  const names = ['mesolite.conf', 'nodes.acl', 'joins.acl'];
  t.strictSame(
    [...out.matchAll(/^# --- (.*)$/gm)].map(match => match[1]),
    names.map(name => `/srv/m/${name}`),
  );
  t.match(out, /^listener 1883\n(?:.+\n)*require_certificate true\n(?:.+\n)*acl_file \/srv\/m\/nodes\.acl$/m);
  t.match(out, /^listener 1884\n(?:.+\n)*acl_file \/srv\/m\/joins\.acl$/m);
  t.match(out, /^pattern write mesolite\/v1\/up\/%u\/\+$/m);
  t.match(out, /^pattern write mesolite\/v1\/join\/%u\/%c\/req$/m);
  t.match(err, /broker\.pem, broker\.key and ca\.pem/);
});

t.test('without a master nothing is written', async t => {
  const out = join(t.testdir(), 'out');
  t.match(await run(['broker', 'config', 'mosquitto', '--out', out]), { code: 2, out: '' });
  t.notOk(existsSync(out));
});

t.test('a master is told of a broker by its address', async t => {
  const asked: MasterOptions[] = [];
  const parts = { startMaster: async (options: MasterOptions) => void asked.push(options) };
  await run(['master', '--broker', 'mqtts://b.example'], { parts });
  await run(['master', '--broker', 'mqtts://[fd00::1]:18883', '--broker-join-port', '1'], { parts });
  t.match(asked, [
    { broker: { host: 'b.example', port: 8883, joinPort: 8884 } },
    { broker: { host: 'fd00::1', port: 18_883, joinPort: 1 } },
  ]);
  for (const url of ['mqtt://b', 'b:8883', 'mqtts://b:0', 'mqtts://b:99999', 'mqtts://b/x', 'mqtts://u:p@b']) {
    t.match(await run(['master', '--broker', url], { parts }), { code: 2, err: /expected mqtts:\/\/host:port/ }, url);
  }
  t.equal(asked.length, 2);
});
