#!/usr/bin/env node
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { AgentOptions, DoctorOptions, Joined, JoinOptions, MasterOptions } from './cli/roles.ts';
import type { Finding } from './model/finding.ts';

// Each role is loaded when it is asked for: an agent never loads a database, a command never loads a proxy.

const { version }: { version: string } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
);

/** Which version of the agent this is, where the installed program has started another. */
const launched = new URL(import.meta.url).searchParams.get('version');

const programDir = fileURLToPath(new URL('../..', import.meta.url));
const profilesDir = join(programDir, 'firmware-profiles');

async function runMaster(
  { dataDir, logLevel, advertise, ...options }: MasterOptions,
  signal: AbortSignal,
): Promise<void> {
  const [{ startMaster }, { checkMasterConfig, defaultMasterConfig }, { systemClock }, { makeLog }] = await Promise.all(
    [
      import('./master/master.ts'),
      import('./master/config.ts'),
      import('./device/clock.ts'),
      import('./device/log.ts'),
    ],
  );
  const [{ ownAddresses }, { openServiceManager }] = await Promise.all([
    import('./device/addresses.ts'),
    import('./device/service-manager.ts'),
  ]);
  const log = makeLog({ name: 'master', level: logLevel });
  const own = {
    dataDir,
    programDir,
    advertise: advertise ?? (isOne(options.host) ? [options.host] : ownAddresses()),
    proxy: proxyOf(process.env),
  };
  const config = { ...defaultMasterConfig, ...options, ...own };
  const { ended } = await startMaster({ clock: systemClock, log, version }, checkMasterConfig(config), signal);
  const manager = openServiceManager(process.env, process.pid);
  signal.addEventListener('abort', () => void manager.isStopping(), { once: true });
  await manager.isUp();
  void manager.stayAlive(systemClock, signal);
  await ended;
}

async function runAgent(
  { dataDir, logLevel, ports, node, upgrade, ...options }: AgentOptions,
  signal: AbortSignal,
): Promise<void> {
  // at a first start another process reads the board while the rest of the agent is loaded
  const isNew = !existsSync(join(dataDir, 'identity'));
  const board = isNew ? (await import('./device/inventory.ts')).readInventory() : undefined;
  const [{ serveAgent }, { checkAgentConfig, defaultAgentConfig, defaultNodeId }, { systemClock: clock }, { makeLog }] =
    await Promise.all([
      import('./agent/serve.ts'),
      import('./agent/config.ts'),
      import('./device/clock.ts'),
      import('./device/log.ts'),
    ]);
  const [{ findPredecessor, ownProgram, startSuccessor }, { systemdSockets }, { openServiceManager, whyNotFollowed }] =
    await Promise.all([
      import('./device/handover.ts'),
      import('./device/given-sockets.ts'),
      import('./device/service-manager.ts'),
    ]);
  const [{ openVersions }, { runtimeOfNext }, { versionVariable }, { installedVersion }] = await Promise.all([
    import('./agent/agent-versions.ts'),
    import('./agent/process-runtime.ts'),
    import('./agent/launch.ts'),
    import('./lifecycle/agent-version.ts'),
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
  const manager = openServiceManager(process.env, process.pid);
  await predecessor?.turn();
  const parts = {
    clock,
    log,
    version,
    readBoard: board && (() => board),
    running: launched ?? installedVersion,
    versions: await openVersions(dataDir),
    whyNot: upgrade === false ? 'it was started with --no-upgrade' : whyNotFollowed(process.env, process.pid),
    sockets: predecessor ?? systemdSockets(process.env, process.pid),
    onUp: () => predecessor?.release(),
    onHandover: hearUserSignal(),
    startSuccessor: (id: string) => {
      const { nodeFlags, env } = runtimeOfNext(dataDir, process.env) ?? {};
      return startSuccessor({ clock }, ownProgram(nodeFlags), { ...env, [versionVariable]: id });
    },
    onMain: manager.isUp,
    onReload: manager.isReloading,
    onWorking: (signal: AbortSignal) => void manager.stayAlive(clock, signal),
    onSettled: () => predecessor?.settle(),
    onRecord: predecessor?.onRecord,
  };
  signal.addEventListener('abort', () => void manager.isStopping(), { once: true });
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
  const keepName = options.node === undefined;
  return joinNode({ clock: systemClock, log, version }, config, { replace, keepName }, signal);
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

async function run(argv: readonly string[]): Promise<void> {
  const { runCli } = await import('./cli/cli.ts');
  const roles = { startMaster: runMaster, startAgent: runAgent, examineNode, joinFleet };
  process.exitCode = await runCli(argv, { version, profilesDir, ...roles });
}

/** The installed program starts the version that the node is to run; that one is told by its address not to look for another. */
async function launch([role, ...args]: readonly string[]): Promise<boolean> {
  const stays = args.some(arg => ['--help', '-h', '--no-upgrade'].includes(arg));
  if (role !== 'agent' || launched !== null || stays) return false;
  const { versionToRun } = await import('./agent/launch.ts');
  const other = await versionToRun(args, process.env);
  if (other === undefined) return false;
  const program = pathToFileURL(other.program);
  program.searchParams.set('version', other.version);
  await import(program.href);
  return true;
}

const argv = process.argv.slice(2);
if (argv[0] === 'agent') (await import('./device/optimizer.ts')).interpretAlone();
if (!(await launch(argv))) await run(argv);
// what a role that could not start has left open must not keep the process
setTimeout(() => process.exit(), 3_000).unref();
