import { once } from 'node:events';
import { join, resolve } from 'node:path';
import t from 'tap';
import type { AgentOptions, JoinOptions, MasterOptions } from '../../src/cli/roles.ts';
import { unknownBoard } from '../../src/device/profiles.ts';
import { run } from '../fixtures/cli-run.ts';

t.test('a line that is no command is told what would be one, with code 2', async t => {
  t.match(await run([]), { code: 2, err: /Usage: mesolite/ });
  t.match(await run(['frob']), { code: 2, err: /^mesolite: unknown command 'frob'/ });
  t.match(await run(['aply', '-f', 'x']), { code: 2, err: /Did you mean apply\?/ });
  t.match(await run(['apply']), { code: 2, err: /required option '-f, --file <path>' not specified/ });
  t.match(await run(['get', 'nodes', '-o', 'xml']), { code: 2, err: /expected one of table, wide, json, yaml/ });
  t.match(await run(['get', 'pods']), { code: 2, err: /unknown command 'pods'/ });
  t.match(await run(['audit', '--since', 'yesterday']), { code: 2, err: /expected 30m, 1h, 7d or a date/ });
  t.match(await run(['audit', '--limit', '1001']), {
    code: 2,
    err: 'mesolite: --limit: expected 1 to 1000, got "1001"\n',
  });
  t.match(await run(['get', 'nodes', '-o', 'xml']), {
    err: '--output: expected one of table, wide, json, yaml, got "xml"',
  });
  t.match(await run(['revoke', 'nope']), { code: 2, err: /expected a serial number as .* prints it, got nope\n$/ });
  t.match(await run(['token', 'create', '--ttl', '5']), { code: 2, err: /expected a duration/ });
  t.match(await run(['token', 'create', '--label', 'zone']), { code: 2, err: /expected a label as zone=a/ });
  t.match(await run(['agent', '--ports', '9-3']), { code: 2, err: /expected a range of ports as 20000-20999/ });
  t.match(await run(['agent', '--metrics', 'nowhere']), { code: 2, err: /expected address:port/ });
  t.match(await run(['agent', '--node', 'Pi_1']), { code: 2, err: /expected a name of 1 to 63/ });
  t.match(await run(['agent', '--resource', 'npu=-1']), { code: 2, err: /0 or more/ });
  t.match(await run(['master', '--api-port', '70000']), { code: 2, err: /expected 0 to 65535/ });
});

t.test('help and version are no errors', async t => {
  t.match(await run(['--help']), { code: 0, out: /Usage: mesolite/, err: '' });
  t.match(await run(['get', '--help']), { code: 0, out: /nodes\|node/, err: '' });
  t.match(await run(['--version']), { code: 0, out: '1.2.3\n', err: '' });
  const env = { MESOLITE_CONFIG: join(t.testdir(), 'none') };
  t.match(await run(['version'], { env }), { code: 0, out: 'mesolite 1.2.3\n', err: '' });
});

t.test('a master is started with what was asked for and nothing else', async t => {
  const asked: MasterOptions[] = [];
  const startMaster = async (options: MasterOptions) => void asked.push(options);
  t.match(await run(['master'], { parts: { startMaster } }), { code: 0, out: '', err: '' });
  const line = 'master --data d --host 127.0.0.1 --api-port 0 --mqtt-port 1883 --advertise a --advertise b';
  const more = '--trust-domain x.example --root-namespace root --mesh-default deny --log-level warn';
  await run(`${line} ${more}`.split(' '), { parts: { startMaster } });
  t.same(asked, [
    { dataDir: resolve('.mesolite/master'), logLevel: 'info' },
    {
      dataDir: resolve('d'),
      host: '127.0.0.1',
      apiPort: 0,
      mqttPort: 1883,
      advertise: ['a', 'b'],
      trustDomain: 'x.example',
      rootNamespace: 'root',
      meshDefault: 'deny',
      logLevel: 'warn',
    },
  ]);
});

t.test('a master is told how long certificates live, and gets keys and passphrases from files', async t => {
  const asked: MasterOptions[] = [];
  const parts = { startMaster: async (options: MasterOptions) => void asked.push(options) };
  const dir = t.testdir({ pass: 'correct horse battery\n', cert: 'CERT', key: 'KEY' });
  const lives = '--node-lifetime 30d --workload-lifetime 24h --server-lifetime 90d --issuing-lifetime 1d';
  const files = ['--authority-passphrase-file', join(dir, 'pass'), '--root-cert', join(dir, 'cert')];
  const line = ['master', '--data', 'd', ...lives.split(' '), '--signer-lifetime', '2d', '--root-lifetime', '9d'];
  await run([...line, ...files, '--root-key', join(dir, 'key')], { parts });
  await run(['master', '--data', 'd'], { parts, env: { MESOLITE_AUTHORITY_PASSPHRASE: 'from the environment' } });
  const day = 86_400_000;
  const lifetimes = { nodeMs: 30 * day, workloadMs: day, serverMs: 90 * day, issuingMs: day };
  t.same(asked, [
    {
      dataDir: resolve('d'),
      logLevel: 'info',
      lifetimes: { ...lifetimes, configMs: 2 * day, rootMs: 9 * day },
      authorityPassphrase: 'correct horse battery',
      root: { rootPem: 'CERT', rootKeyPem: 'KEY' },
    },
    { dataDir: resolve('d'), logLevel: 'info', authorityPassphrase: 'from the environment' },
  ]);
  t.match(await run([...line, ...files], { parts }), { code: 1, err: /expected both or neither/ });
  const missing = ['master', '--authority-passphrase-file', join(dir, 'none')];
  t.match(await run(missing, { parts }), { code: 1, err: /the passphrase: .*none: no such file/ });
  t.match(await run(['master', '--node-lifetime', 'soon'], { parts }), { code: 2 });
  t.equal(asked.length, 2);
});

t.test('a node joins with a string, a file or the environment, and is told what to run next', async t => {
  const asked: JoinOptions[] = [];
  const joinFleet = async (options: JoinOptions) => {
    asked.push(options);
    return { node: 'pi-1', trustDomain: 'edge.example' };
  };
  const parts = { joinFleet };
  const dir = t.testdir({ join: 'from-a-file\n' });
  const given = await run(['join', 'a-string', '--data', dir, '--node', 'pi-1', '--label', 'a=b'], { parts });
  const next = `pi-1 has joined edge.example. Start its agent, again if it runs already:\n  mesolite agent --data ${dir}\n`;
  t.same(given, { code: 0, out: next, err: '' });
  await run(['join', '--token-file', join(dir, 'join'), '--replace'], { parts });
  await run(['join'], { parts, env: { MESOLITE_JOIN: 'from-the-environment' } });
  const rest = { dataDir: resolve('.mesolite/agent'), logLevel: 'warn' };
  t.same(asked, [
    { dataDir: dir, join: 'a-string', node: 'pi-1', labels: { a: 'b' }, replace: false, logLevel: 'warn' },
    { ...rest, join: 'from-a-file', replace: true },
    { ...rest, join: 'from-the-environment', replace: false },
  ]);
  t.match(await run(['join', '--join-file', join(dir, 'none')], { parts }), { code: 1, err: /none: no such file\n$/ });
  t.match(await run(['join'], { parts }), { code: 2, err: /expected STRING, --token-file or \$MESOLITE_JOIN/ });
  t.match(await run(['join', 'x', '--join-file', join(dir, 'join')], { parts }), { code: 2, err: /not both/ });
});

t.test('an agent is started with what was asked for, its join string from a file too', async t => {
  const asked: AgentOptions[] = [];
  const parts = { startAgent: async (options: AgentOptions) => void asked.push(options) };
  const dir = t.testdir({ join: 'from-a-file\n' });
  const line = 'agent --data d --node pi-1 --address 10.0.0.1 --mesh-port 15000 --ports 20000-20099 --profile generic';
  await run([...line.split(' '), '--label', 'zone=a', '--join', 'given'], { parts });
  await run(['agent', '--join-file', join(dir, 'join')], { parts });
  const seen =
    '--access-log a.log --access-log-format envoy --access-log-sample 5 --access-log-rate 9 --metrics [::1]:15090';
  await run(['agent', ...seen.split(' ')], { parts });
  await run('agent --metered yes --data-budget 20 --cpus 3 --memory 900'.split(' '), { parts });
  t.same(asked, [
    {
      dataDir: resolve('d'),
      join: 'given',
      node: 'pi-1',
      address: '10.0.0.1',
      meshPort: 15_000,
      ports: { begin: 20_000, end: 20_099 },
      profile: 'generic',
      labels: { zone: 'a' },
      upgrade: true,
      logLevel: 'info',
    },
    { dataDir: resolve('.mesolite/agent'), join: 'from-a-file', upgrade: true, logLevel: 'info' },
    {
      dataDir: resolve('.mesolite/agent'),
      accessLog: { file: resolve('a.log'), format: 'envoy', sample: 0.05, perSecond: 9 },
      metrics: { host: '::1', port: 15_090 },
      upgrade: true,
      logLevel: 'info',
    },
    {
      dataDir: resolve('.mesolite/agent'),
      ...{ metered: true, dataBudgetMb: 20, cpuCount: 3, memoryMb: 900 },
      upgrade: true,
      logLevel: 'info',
    },
  ]);
  t.match(await run(['agent', '--join', 'x', '--join-file', 'y'], { parts }), { code: 2, err: /cannot be used with/ });
  t.match(await run(['agent', '--join-file', join(dir, 'no')], { parts }), {
    code: 1,
    err: /no: no such file/,
  });
});

t.test('an end that was asked for is a good end of a role', async t => {
  const controller = new AbortController();
  const startMaster = async (_: MasterOptions, signal: AbortSignal) => {
    const over = once(signal, 'abort');
    controller.abort();
    await over;
  };
  t.match(await run(['master'], { signal: controller.signal, parts: { startMaster } }), { code: 0, err: '' });
});

t.test('a command that was interrupted says nothing and ends with 130', async t => {
  const controller = new AbortController();
  const startMaster = async () => {
    controller.abort();
    throw new Error('cut off');
  };
  t.match(await run(['master'], { signal: controller.signal, parts: { startMaster } }), {
    code: 130,
    out: '',
    err: '',
  });
});

t.test('a defect is shown with where it happened', async t => {
  const startMaster = async () => {
    throw new TypeError('a defect');
  };
  t.match(await run(['master'], { parts: { startMaster } }), { code: 1, err: /TypeError: a defect\n {4}at / });
});

t.test('a board that is not at hand is recognised by what it said of itself', async t => {
  const board = 'test/fixtures/boards/beaglebone-black.json';
  const test = await run(['profiles', 'test', board, '--expect', 'beaglebone-black']);
  t.match(test, { code: 0, err: '', out: /^beaglebone-black +100 +chosen/m });
  t.match(test.out, /^generic-armv7 +10 +matches/m);
  t.match(test.out, /^generic-arm64 +10 +no +arch is arm$/m);
  t.match(await run(['profiles', 'test', board, '--expect', 'other']), {
    code: 1,
    err: 'mesolite: test/fixtures/boards/beaglebone-black.json: expected the profile other, got beaglebone-black\n',
  });
  t.match(await run(['profiles', 'test', 'no.json']), { code: 1, err: /no\.json: no such file/ });
  const { name: _, ...spec } = unknownBoard;
  const document = {
    apiVersion: 'mesolite/v1',
    kind: 'Profile',
    metadata: { name: 'fleet', namespace: 'istio-system' },
    spec: { ...spec, precedence: 150, match: [{ deviceTreeModel: 'Black$' }] },
  };
  const files = t.testdir({
    own: { 'here.json': JSON.stringify({ ...unknownBoard, name: 'here', precedence: 200 }) },
    'profile.json': JSON.stringify(document),
    'wrong.json': JSON.stringify({ ...document, spec: { ...document.spec, match: [{ dmiProduct: '(' }] } }),
  });
  const own = join(files, 'own');
  const applied = ['profiles', 'test', board, '-f', join(files, 'profile.json'), '--expect'];
  t.match(await run([...applied, 'fleet']), { code: 0, out: /^fleet +150 +chosen/m });
  t.match(await run([...applied, 'here', '--profiles', own]), { code: 0, out: /^fleet +150 +matches/m });
  t.match(await run(['profiles', 'test', board, '-f', join(files, 'wrong.json')]), {
    code: 1,
    err: /wrong\.json: spec\.match\[0\]\.dmiProduct: not a regular expression/,
  });
  const inventory = await run(['profiles', 'inventory']);
  t.equal(inventory.code, 0, inventory.err);
  const here = await run(['profiles', 'test', '--profiles', own, '-o', 'json']);
  t.match(JSON.parse(here.out), { profile: 'here', profiles: [{ name: 'here', chosen: true }] });
});
