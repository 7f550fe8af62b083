#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { runCli } from './cli/cli.ts';
import type { AgentOptions, DoctorOptions, Joined, JoinOptions, MasterOptions } from './cli/roles.ts';
import type { Finding } from './model/finding.ts';

// Each role is loaded when it is asked for: an agent never loads a database, a command never loads a proxy.

const { version }: { version: string } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
);

const profilesDir = fileURLToPath(new URL('../../firmware-profiles', import.meta.url));

async function runMaster(
  { dataDir, logLevel, advertise, ...options }: MasterOptions,
  signal: AbortSignal,
): Promise<void> {
  const [{ startMaster }, { checkMasterConfig, defaultMasterConfig }, { systemClock }, { makeLog }, { ownAddresses }] =
    await Promise.all([
      import('./master/master.ts'),
      import('./master/config.ts'),
      import('./device/clock.ts'),
      import('./device/log.ts'),
      import('./device/addresses.ts'),
    ]);
  const log = makeLog({ name: 'master', level: logLevel });
  const own = {
    dataDir,
    advertise: advertise ?? (isOne(options.host) ? [options.host] : ownAddresses()),
    proxy: proxyOf(process.env),
  };
  const config = { ...defaultMasterConfig, ...options, ...own };
  const { ended } = await startMaster({ clock: systemClock, log, version }, checkMasterConfig(config), signal);
  await ended;
}

async function runAgent(
  { dataDir, logLevel, ports, node, ...options }: AgentOptions,
  signal: AbortSignal,
): Promise<void> {
  const [{ serveAgent }, { checkAgentConfig, defaultAgentConfig, defaultNodeId }, { systemClock: clock }, { makeLog }] =
    await Promise.all([
      import('./agent/serve.ts'),
      import('./agent/config.ts'),
      import('./device/clock.ts'),
      import('./device/log.ts'),
    ]);
  const [{ findPredecessor, startSuccessor }, { systemdSockets }] = await Promise.all([
    import('./device/handover.ts'),
    import('./device/given-sockets.ts'),
  ]);
  const log = makeLog({ name: 'agent', level: logLevel });
  const config = checkAgentConfig({
    ...defaultAgentConfig,
    ...options,
    dataDir,
    node: node ?? defaultNodeId(),
    proxy: proxyOf(process.env),
    profilesDir,
    ...(ports && { taskPorts: [ports] }),
  });
  const predecessor = findPredecessor(process);
  const parts = {
    clock,
    log,
    version,
    sockets: predecessor ?? systemdSockets(process.env, process.pid),
    onUp: () => predecessor?.release(),
    onHandover: hearUserSignal(),
    startSuccessor: () => startSuccessor({ clock }),
    onRecord: predecessor?.onRecord,
  };
  await predecessor?.turn();
  await serveAgent(parts, config, signal);
}

/** Is this an address that is listened on, and no other of the machine? */
function isOne(host: string | undefined): host is string {
  return host !== undefined && host !== '0.0.0.0' && host !== '::';
}

/** `kill -USR2`, as nginx has it: restart without a connection refused. Heard all the time, since unheard it would end the process. */
function hearUserSignal(): (listener: () => void) => () => void {
  const listeners = new Set<() => void>();
  process.on('SIGUSR2', () => {
    for (const listener of [...listeners]) listener();
  });
  return listener => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };
}

/** As curl and most others read them. */
function proxyOf(env: NodeJS.ProcessEnv) {
  return { httpsProxy: env.HTTPS_PROXY ?? env.https_proxy, noProxy: env.NO_PROXY ?? env.no_proxy };
}

async function joinFleet({ logLevel, replace, ...options }: JoinOptions, signal: AbortSignal): Promise<Joined> {
  const [{ joinNode }, { checkAgentConfig, defaultAgentConfig, defaultNodeId }, { systemClock }, { makeLog }] =
    await Promise.all([
      import('./agent/join.ts'),
      import('./agent/config.ts'),
      import('./device/clock.ts'),
      import('./device/log.ts'),
    ]);
  const log = makeLog({ name: 'join', level: logLevel });
  const config = { ...defaultAgentConfig, profilesDir, node: defaultNodeId(), proxy: proxyOf(process.env), ...options };
  checkAgentConfig(config);
  return joinNode({ clock: systemClock, log }, config, { replace, keepName: options.node === undefined }, signal);
}

async function examineNode(options: DoctorOptions, signal: AbortSignal): Promise<readonly Finding[]> {
  const [doctor, { defaultAgentConfig }, { systemClock }] = await Promise.all([
    import('./agent/doctor.ts'),
    import('./agent/config.ts'),
    import('./device/clock.ts'),
  ]);
  const config = { ...defaultAgentConfig, profilesDir, proxy: proxyOf(process.env), ...options };
  return doctor.examineNode({ clock: systemClock }, config, signal);
}

process.exitCode = await runCli(process.argv.slice(2), {
  version,
  profilesDir,
  startMaster: runMaster,
  startAgent: runAgent,
  examineNode,
  joinFleet,
});
// what a role that could not start has left open must not keep the process
setTimeout(() => process.exit(), 3_000).unref();
