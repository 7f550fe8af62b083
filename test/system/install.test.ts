/** What a master serves makes a machine a node, for real: on a copy of this machine whose files may be spoiled. */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeHome, masterConfig, untilReady } from '../fixtures/fleet.ts';
import { openFleetApi } from '../fixtures/fleet-api.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { mesolite, startMasterProcess } from '../fixtures/fleet-process.ts';
import { until } from '../fixtures/fleet-until.ts';
import { openSpareMachine } from '../fixtures/spare-machine.ts';

const hasTools = ['curl', 'sha256sum', 'unshare', 'runuser', 'useradd'].every(
  tool => spawnSync(tool, ['--version']).error === undefined,
);
const machine = hasTools ? await openSpareMachine() : undefined;
const skip = machine === undefined ? 'a copy of this machine cannot be made (root, overlayfs, curl)' : false;

t.test('a machine becomes a node by the script of the master, and is one no more', { skip }, async t => {
  if (machine === undefined) return;
  t.teardown(() => machine.end());
  const home = makeHome(t);
  const ports = new FreePorts();
  const config = await masterConfig(join(home, 'master'), ports);
  // a Node for those who have none: here it is the one that is put away below
  const runtime = 'node-v20.19.2-linux-x64';
  mkdirSync(join(home, runtime, 'bin'), { recursive: true });
  writeFileSync(join(home, runtime, 'bin/node'), '#!/bin/sh\nexec /put-away/node "$@"\n', { mode: 0o755 });
  mkdirSync(join(config.dataDir, 'runtimes'), { recursive: true });
  spawnSync('tar', ['-czf', join(config.dataDir, 'runtimes', `${runtime}.tar.gz`), '-C', home, runtime]);
  const master = startMasterProcess(t, config);
  await until('the master is up', () => master.output.includes('the master is up'));
  const server = `https://127.0.0.1:${config.apiPort}`;
  const api = openFleetApi(config);
  const ca = join(config.dataDir, 'ca.pem');
  const curl = `curl -fsSL --cacert ${ca}`;

  const run = (script: string, code = 0): string => {
    const { code: is, output } = machine.run(script);
    t.equal(is, code, `${script.slice(0, 80)} ends with ${code}`) || t.comment(output);
    return output;
  };
  const there = (path: string) => machine.run(`test -e ${path}`).code === 0;

  // what is not the master's own is not installed
  run(`${curl} ${server}/install.sh -o /install.sh`);
  run('sed -i "s/^bundle=\'...../bundle=\'00000/" /install.sh');
  t.match(run('sh /install.sh', 1), /mesolite\.tar\.gz: expected sha256 00000.*; nothing was installed/);
  t.notOk(there('/usr/local/lib/mesolite/current'));

  // in one line
  const string = await api.joinString();
  const installed = run(`${curl} ${server}/install.sh | sh -s -- --join ${string} -- --node pi-1`);
  t.match(installed, /pi-1 has joined/);
  t.match(run('mesolite version'), /^mesolite \d/);
  t.match(run('stat -c "%U %a" /var/lib/mesolite-agent/identity'), 'mesolite-agent 600');
  t.match(run('cat /usr/local/lib/mesolite/start-agent'), 'exec /usr/bin/node ');
  t.ok(there('/etc/systemd/system/multi-user.target.wants/mesolite-agent.service') || !there('/usr/bin/systemctl'));

  // a second time nothing changes but that a Node is brought where there is none
  run('mkdir /put-away && mv /usr/bin/node /put-away/ && rm -f /usr/local/bin/node');
  run(`echo ${string} >/pi-1.join`);
  t.match(run(`${curl} ${server}/install.sh | sh -s -- --join-file /pi-1.join`), /fetching node-v20.*a node already/s);
  t.match(run('mesolite version'), /^mesolite \d/);

  // as its unit starts it
  const [, command = ''] =
    /^ExecStart=(.*) \$MESOLITE_AGENT/m.exec(run('cat /etc/systemd/system/mesolite-agent.service')) ?? [];
  t.equal(command, '/usr/local/lib/mesolite/start-agent');
  t.match(run(`cat ${command}`), 'exec /usr/local/lib/mesolite/node ');
  const user = ['setpriv', '--reuid=mesolite-agent', '--regid=mesolite-agent', '--clear-groups', '--'];
  const options = ['--mesh-port', `${await ports.take()}`, '--outbound-port', `${await ports.take()}`, '--speed', '1'];
  const [program = '', ...args] = [...machine.prefix, ...user, command, ...options];
  const agent = spawn(program, args, { stdio: 'ignore', env: { PATH: '/usr/bin:/bin' } });
  const ended = new Promise(resolve => agent.once('close', resolve));
  await untilReady(api, 'pi-1');
  agent.kill();
  await ended;

  // what it is by now stays until somebody wants it gone
  run('sh /usr/local/lib/mesolite/install.sh --uninstall');
  t.notOk(there('/usr/local/bin/mesolite'));
  t.ok(there('/var/lib/mesolite-agent/identity'));
  run('mv /put-away/node /usr/bin/');
  t.match(run(`${curl} ${server}/install.sh | sh`), /a node already/);
  run('sh /usr/local/lib/mesolite/install.sh --uninstall --purge');
  const left = run(
    'ls -d /usr/local/*/mesolite* /etc/*/mesolite* /etc/systemd/*/*mesolite* /var/lib/mesolite* || true',
  );
  t.notMatch(left, /^\//m);
  t.notMatch(run('cat /etc/passwd /etc/group'), 'mesolite');

  // for those who read first: the operator is told the sum of the script
  await mesolite(
    ['context', 'set', 'edge', '--server', server, '--ca', ca, '--token-file', join(config.dataDir, 'operator.token')],
    { HOME: home },
  );
  const { stdout } = await mesolite(['token', 'create', '--install', '--node', 'pi-9'], { HOME: home });
  const script = spawnSync('curl', ['-fsSk', `${server}/install.sh`], { encoding: 'utf8' }).stdout;
  t.match(stdout, `curl -fsSLk ${server}/install.sh -o install.sh`);
  t.match(
    stdout,
    `echo '${createHash('sha256').update(script).digest('hex')}  install.sh' | sha256sum -c && sudo sh install.sh --join-file node.join -- --node pi-9`,
  );
  t.match(stdout, /^\(umask 077; echo mesolite\S+ >node\.join\)$/m);
  const answer = (path: string, ...more: string[]) =>
    spawnSync('curl', ['-sk', ...more, `${server}${path}`], { encoding: 'utf8' }).stdout;
  t.match(answer('/install/authority'), 'NOT_FOUND');
  t.match(answer('/install.sh', '-H', "Host: x'; reboot; '"), 'INVALID_INPUT', 'nobody writes into the script');
});
