/**
 * Debian packages of this checkout are installed, upgraded, downgraded, removed and purged in a copy of this machine that is thrown away;
 * between that the master and the agent in them are started as their units say. lintian and systemd say what they think of them, where
 * they are installed. It wants root. `--json` prints one object a row. The exit code is 1 when something does not hold.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { FreePorts } from '../../test/fixtures/fleet-ports.ts';
import { until } from '../../test/fixtures/fleet-until.ts';
import { openSpareMachine, type SpareMachine } from '../../test/fixtures/spare-machine.ts';
import { buildDeb } from '../package/deb.ts';
import { agentPackage, librariesHere, masterPackage } from '../package/packages.ts';
import { readRuntimes } from '../package/runtime.ts';
import { everything, expectSame } from './debian/traces.ts';
import { say } from './rows.ts';
import { FailedStep, makeStep } from './steps.ts';

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    // of the package with a Node of its own, which takes a minute to pack
    runtime: { type: 'boolean', default: false },
  },
});
process.env.SOURCE_DATE_EPOCH ??= '1700000000';
let failed = false;
const step = makeStep(options.json);

function expect(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

const home = mkdtempSync(join(tmpdir(), 'mesolite-packages-'));
const spare = await openSpareMachine();
try {
  if (spare === undefined) throw new Error('a copy of this machine cannot be made: it wants root and overlayfs');
  await check(spare);
} catch (error) {
  if (!(error instanceof FailedStep)) process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  failed = true;
} finally {
  await spare?.end();
  rmSync(home, { recursive: true, force: true });
}
process.exitCode = failed ? 1 : 0;

async function check(machine: SpareMachine): Promise<void> {
  const run = (script: string): string => {
    const { code, output } = machine.run(script);
    expect(code === 0, `${script} ended with ${code}:\n${output.slice(-2000)}`);
    return output;
  };
  const isThere = (path: string) => machine.run(`test -e ${path}`).code === 0;
  const install = (...paths: string[]) =>
    run(`dpkg --install --force-confdef --ignore-depends=nodejs ${paths.join(' ')} 2>&1`);
  const before = run(everything);

  let [older = '', newer = '', master = '', newerMaster = ''] = [] as string[];
  await step('packages are built', () => {
    older = buildDeb(agentPackage('0.1.0'), home);
    newer = buildDeb(agentPackage('0.2.0'), home);
    const [library] = librariesHere();
    if (library === undefined) throw new Error('npm has installed no library of the database for Linux');
    master = buildDeb(masterPackage('0.1.0', library), home);
    newerMaster = buildDeb(masterPackage('0.2.0', library), home);
  });
  await step('the agent is installed: its user, its data, its units, which start at boot', () => {
    install(older);
    expect(/^mesolite \d/.test(run('mesolite version')), 'the command runs');
    expect(run('stat -c %U /var/lib/mesolite-agent').trim() === 'mesolite-agent', 'its data is of its user');
    for (const [target, unit] of [
      ['multi-user', 'mesolite-agent.service'],
      ['sockets', 'mesolite-agent.socket'],
      ['sockets', 'mesolite-agent-outbound.socket'],
    ]) {
      expect(
        run(`readlink -e /etc/systemd/system/${target}.target.wants/${unit}`).includes(`system/${unit}`),
        `${unit} starts`,
      );
    }
  });
  await step('the master is installed', () => {
    install(master);
    expect(isThere('/etc/systemd/system/multi-user.target.wants/mesolite-master.service'), 'it starts at boot');
  });

  const ports = new FreePorts();
  const [apiPort, mqttPort] = [await ports.take(), await ports.take()];
  const services: { readonly child: ChildProcess; readonly ended: Promise<unknown> }[] = [];
  /** As its unit says, with `more` options, until `word` is said. */
  const start = async (service: string, word: string, more: readonly string[]) => {
    const unit = run(`cat /usr/lib/systemd/system/${service}.service`);
    const [, command = ''] = /^ExecStart=(.*) \$/m.exec(unit) ?? [];
    const user = ['setpriv', `--reuid=${service}`, `--regid=${service}`, '--clear-groups', '--'];
    const [program = '', ...args] = [...machine.prefix, ...user, ...command.split(' '), ...more];
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: '/usr/bin:/bin' } });
    let said = '';
    child.stdout?.on('data', text => {
      said += text;
    });
    services.push({ child, ended: new Promise(resolve => child.once('close', resolve)) });
    await until(`${service} says: ${word}`, () => said.includes(word));
  };
  const stop = async () => {
    for (const { child, ended } of services.splice(0)) {
      child.kill();
      await ended;
    }
  };
  const startMaster = () =>
    start('mesolite-master', 'the master is up', [
      '--host',
      '127.0.0.1',
      '--api-port',
      `${apiPort}`,
      '--mqtt-port',
      `${mqttPort}`,
    ]);
  const agentPorts = [
    '--mesh-port',
    `${await ports.take()}`,
    '--outbound-port',
    `${await ports.take()}`,
    '--speed',
    '1',
  ];
  const startAgent = () => start('mesolite-agent', 'the link is up', agentPorts);

  await step('master and agent run as their units start them, and mesolite-join makes the machine a node', async () => {
    await startMaster();
    const data = '/var/lib/mesolite-master';
    run(
      `mesolite context set edge --server https://127.0.0.1:${apiPort} --ca ${data}/ca.pem --token-file ${data}/operator.token`,
    );
    run(
      'mesolite token create --node pi-1 >/pi-1.join 2>/dev/null; chmod 600 /pi-1.join; mesolite-join /pi-1.join --node pi-1',
    );
    await startAgent();
    await until('the node is ready', () => /pi-1 +ready/.test(run('mesolite get nodes')));
    const { output: found } = machine.run('cd / && mesolite doctor');
    expect(
      /^ok +ports: the agent runs.*^ok +certificate: pi-1 /ms.test(found),
      `the doctor finds the service:\n${found}`,
    );
  });
  await step('an upgrade keeps fleet, node and changed settings, and so does the way back', async () => {
    run('echo \'MESOLITE_AGENT_OPTIONS="--label zone=hall"\' >/etc/default/mesolite-agent');
    for (const [ofAgent, ofMaster, version] of [
      [newer, newerMaster, '0.2.0'],
      [older, master, '0.1.0'],
    ] as const) {
      await stop();
      install(ofAgent, ofMaster);
      const installed = run('dpkg-query --show mesolite mesolite-master').trim().split('\n');
      expect(
        installed.every(line => line.endsWith(`\t${version}`)),
        `both are ${version}`,
      );
      expect(run('cat /etc/default/mesolite-agent').includes('zone=hall'), 'the settings are kept');
      await startMaster();
      await startAgent();
      await until('the node is ready again', () => /pi-1 +ready/.test(run('mesolite get nodes')));
    }
    await stop();
  });
  await step('what is removed keeps its data and settings', () => {
    run('dpkg --remove mesolite-master mesolite 2>&1');
    expect(!isThere('/usr/lib/mesolite') && !isThere('/usr/bin/mesolite'), 'the program is gone');
    for (const path of [
      '/var/lib/mesolite-agent/identity',
      '/var/lib/mesolite-master/authority',
      '/etc/default/mesolite-agent',
    ]) {
      expect(isThere(path), `${path} is kept`);
    }
  });
  await step('what is purged leaves nothing', () => {
    run('dpkg --purge mesolite-master mesolite 2>&1');
    expectSame(before, run(everything));
  });
  const packages = [older, master];
  if (options.runtime) {
    await step('a package with its own Node is built, and runs on a machine that has none', () => {
      const [runtime] = readRuntimes('self', undefined);
      const bundled = buildDeb(agentPackage('0.1.0', runtime), home);
      packages.push(bundled);
      run(`rm -f /usr/bin/node /usr/local/bin/node; dpkg --install ${bundled} 2>&1`);
      expect(/^mesolite \d/.test(run('mesolite version')), 'the command runs');
    });
  }
  await step('lintian has nothing to say but what is overridden with a reason', () => {
    const { error, status, stdout } = spawnSync(
      'lintian',
      ['--fail-on', 'error,warning', '--allow-root', ...packages],
      {
        encoding: 'utf8',
      },
    );
    if (error === undefined) expect(status === 0, stdout);
    else say('  lintian is not installed');
  });
  await step('systemd takes the units, and scores what they let a program do with at most 2.5', () => {
    const tree = join(home, 'tree');
    for (const path of [older, master]) spawnSync('dpkg-deb', ['--extract', path, tree]);
    const folder = join(tree, 'usr/lib/systemd/system');
    for (const service of ['mesolite-agent', 'mesolite-master']) {
      const unit = join(folder, `${service}.service`);
      const text = readFileSync(unit, 'utf8');
      // what they start is not installed any more
      writeFileSync(unit, text.replace(/^ExecStart=/m, `ExecStart=${tree}`));
      const { error, stderr } = spawnSync('systemd-analyze', ['verify', unit], { encoding: 'utf8' });
      if (error !== undefined) return say('  systemd-analyze is not installed');
      const complaints = stderr.split('\n').filter(line => line !== '' && !line.includes("'DelegateSubgroup'"));
      expect(complaints.length === 0, complaints.join('\n'));
      const args = ['security', '--offline=true', '--threshold=25', '--no-pager', unit];
      const score = spawnSync('systemd-analyze', args, { encoding: 'utf8' });
      const [line = ''] = score.stdout.split('\n').filter(each => each.includes('Overall'));
      expect(score.status === 0, `${basename(unit)}: ${line}`);
      if (!options.json) say(`  ${line.replace('→ ', '')}`);
      expect(text.includes('Type=notify'), 'it says when it is up');
    }
  });
}
