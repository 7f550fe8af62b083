import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { type Clock, dayMs, hourMs } from '../base/clock.ts';
import { isMesoliteError, messageOf } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { missingControllers } from '../device/cgroup.ts';
import { findCgroupTree } from '../device/cgroup-tree.ts';
import { lockHolder } from '../device/directory-lock.ts';
import { readDisk } from '../device/disk.ts';
import { viewFiles } from '../device/files.ts';
import { readInventory } from '../device/inventory.ts';
import { openPrivileges } from '../device/privileges.ts';
import { listeningPorts } from '../device/proc.ts';
import { chooseProfile, unknownBoard } from '../device/profiles.ts';
import { heldPorts } from '../device/service-manager.ts';
import { trapsHere } from '../device/traps.ts';
import { readCertificates } from '../identity/certificate.ts';
import { parseJoinString } from '../identity/join-string.ts';
import type { Finding } from '../model/finding.ts';
import type { FirmwareProfile } from '../model/profile.ts';
import { profilesFor, readApplied } from './applied-profiles.ts';
import { releasedAt } from './clock.ts';
import type { AgentConfig } from './config.ts';
import { mastersOf } from './enrollment.ts';
import { examineMasters, type MasterPlace } from './master-reach.ts';
import { loadIdentity, type NodeIdentity } from './node-identity.ts';
import { readRoots } from './trust.ts';

export type DoctorConfig = Pick<
  AgentConfig,
  'dataDir' | 'join' | 'meshPort' | 'outboundPort' | 'profile' | 'profilesDir' | 'profiles' | 'proxy' | 'taskUser'
>;

/** A board that has less free cannot take a log line, let alone an artifact. */
const leastDiskMb = 64;
/** A certificate is renewed at two thirds of its 30 days. */
const renewedDays = 10;

/** Looks at all that an agent needs on this node, beside one that runs or not; changes nothing. `root` shows the files of another board. */
export async function examineNode(
  { clock, root = '/' }: { readonly clock: Clock; readonly root?: string },
  config: DoctorConfig,
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  const { findings: ofBoard, profile } = await examineBoard(config, root);
  const { findings: ofIdentity, places } = await examineIdentity(clock, config);
  return [
    ...ofBoard,
    ...(await examineClock(clock, root)),
    ...(await examineLimits(config, root)),
    ...(await examineDisk(config, profile)),
    ...(await examinePorts(config, root)),
    ...ofIdentity,
    ...(await examineMasters({ clock, proxy: config.proxy ?? {} }, places, signal)),
  ];
}

async function examineBoard(
  config: DoctorConfig,
  root: string,
): Promise<{ readonly findings: Finding[]; readonly profile: FirmwareProfile }> {
  const { inventory, warnings } = await readInventory();
  const applied = await readApplied(viewFiles(config.dataDir), silentLog);
  const profiles = await profilesFor(config, applied);
  const profile = chooseProfile(inventory, profiles, config.profile);
  return {
    profile,
    findings: [
      examineProfile(profile, config.profile),
      ...warnings.map(what => ({ check: 'board', state: 'warning', what, fix: sayWhatItHas }) as const),
      ...trapsHere(profile, root).map(({ trap, fix }) => ({ check: 'board', state: 'note', what: trap, fix }) as const),
    ],
  };
}

const sayWhatItHas = 'where `mesolite profiles inventory` is wrong, give the agent --cpus, --memory or --profile';

function examineProfile({ name, title }: FirmwareProfile, asked = name): Finding {
  const check = 'profile';
  if (asked !== name) {
    const fix = `apply a Profile ${asked} to the fleet, put ${asked}.json into the folder of --profiles, or give the agent another --profile`;
    return { check, state: 'warning', what: `there is no ${asked}: it is treated as a ${name}`, fix };
  }
  if (name !== unknownBoard.name) return { check, state: 'ok', what: `${name}: ${title}` };
  const fix = 'write a profile for it (see firmware-profiles), or name the nearest with --profile';
  return { check, state: 'warning', what: 'no profile knows this board: it is treated carefully', fix };
}

async function examineClock(clock: Clock, root: string): Promise<Finding[]> {
  const check = 'clock';
  const says = new Date(clock.now()).toISOString();
  const fix = 'turn a time service on: timedatectl set-ntp true';
  if (clock.now() < releasedAt) {
    const what = `the system says that it is ${says}, which is over: until the master tells the time, certificates cannot be judged`;
    return [{ check, state: 'failure', what, fix }];
  }
  // systemd-timesyncd.service(8), and chrony by its drift file
  const signs = ['run/systemd/timesync/synchronized', 'var/lib/chrony/drift', 'var/lib/chrony/chrony.drift'];
  if (await any(signs.map(sign => join(root, sign))))
    return [{ check, state: 'ok', what: `it is ${says}, kept by a time service` }];
  const what = `it is ${says}; no time service was found that keeps it so (the agent goes by the master's time)`;
  return [{ check, state: 'warning', what, fix }];
}

/** For the agent that runs, which may not be root as who looks; else for one that would be. */
async function examineLimits({ dataDir, taskUser }: DoctorConfig, root: string): Promise<Finding[]> {
  const agent = await lockHolder(dataDir).catch(() => undefined);
  const user = agent === undefined ? process.getuid?.() : (await stat(`/proc/${agent}`).catch(() => undefined))?.uid;
  const isRoot = user === 0;
  const missing = missingControllers(findCgroupTree(root, agent), isRoot || agent === undefined);
  const { warnings } = await openPrivileges({ isRoot, defaultUser: taskUser });
  return [
    ...(missing.length === 0
      ? [{ check: 'cgroups', state: 'ok', what: 'cpu, memory and pids can be limited' } as const]
      : []),
    ...missing.map(what => ({ check: 'cgroups', state: 'warning', what }) as const),
    ...warnings.map(what => ({ check: 'privileges', state: 'warning', what }) as const),
  ];
}

async function examineDisk({ dataDir }: DoctorConfig, { reserve }: FirmwareProfile): Promise<Finding[]> {
  const check = 'disk';
  const place = await nearestDirectory(resolve(dataDir));
  try {
    await access(place, constants.W_OK | constants.X_OK);
  } catch (error) {
    const fix = `${asOwner}; or name another directory with --data`;
    return [{ check, state: 'failure', what: `${place} cannot be written: ${messageOf(error)}`, fix }];
  }
  const disk = readDisk(place);
  if (disk === undefined)
    return [{ check, state: 'warning', what: `the disk of ${place} does not say how full it is` }];
  const freeMb = Math.floor(disk.freeMb);
  const free = `${freeMb} MB are free for ${resolve(dataDir)}`;
  const fix = 'make room, or put the data directory on another disk with --data';
  if (freeMb < leastDiskMb) return [{ check, state: 'failure', what: free, fix }];
  if (freeMb > reserve.diskMb) return [{ check, state: 'ok', what: free }];
  return [
    {
      check,
      state: 'warning',
      what: `${free}, of which the system keeps ${reserve.diskMb}: none is left for tasks`,
      fix,
    },
  ];
}

const asOwner = 'look as root or as its owner, who must be the user of the agent: `sudo mesolite doctor`';

async function nearestDirectory(path: string): Promise<string> {
  const parent = dirname(path);
  return parent === path || (await any([path])) ? path : nearestDirectory(parent);
}

/** Of the agent's service. */
const socketUnits = ['mesolite-agent.socket', 'mesolite-agent-outbound.socket'];

async function examinePorts({ dataDir, meshPort, outboundPort }: DoctorConfig, root: string): Promise<Finding[]> {
  const check = 'ports';
  const holder = await lockHolder(dataDir).catch(() => undefined);
  const listening = listeningPorts(root);
  if (holder !== undefined) return [{ check, state: 'ok', what: `the agent runs (process ${holder})` }];
  if (listening === undefined) return [];
  const ports = { '--mesh-port': meshPort, '--outbound-port': outboundPort };
  const taken = Object.entries(ports).filter(([, port]) => listening.has(port));
  if (taken.length === 0) return [{ check, state: 'ok', what: `${meshPort} and ${outboundPort} are free` }];
  const held = await heldPorts(socketUnits, process.env);
  return taken.map(([option, port]) =>
    held.has(port)
      ? {
          check,
          state: 'warning',
          what: `systemd keeps ${port} open for the agent, which does not run`,
          fix: 'see why: `systemctl status mesolite-agent`, `journalctl -u mesolite-agent`',
        }
      : {
          check,
          state: 'failure',
          what: `another program listens on ${port}`,
          fix: `\`ss -ltnp 'sport = :${port}'\` names it; give the agent another with ${option}`,
        },
  );
}

async function examineIdentity(
  clock: Clock,
  { dataDir, join: joinString }: DoctorConfig,
): Promise<{ readonly findings: Finding[]; readonly places: readonly MasterPlace[] }> {
  const check = 'certificate';
  const files = viewFiles(dataDir);
  let identity: NodeIdentity | undefined;
  try {
    identity = await loadIdentity(files);
  } catch (error) {
    // not damaged, but kept from us
    const isDenied = isMesoliteError(error, 'UNAVAILABLE');
    const fix = isDenied ? asOwner : 'join anew: `mesolite join --replace` with a string of `mesolite token create`';
    return {
      findings: [{ check, state: 'failure', what: `the identity cannot be read: ${messageOf(error)}`, fix }],
      places: [],
    };
  }
  if (identity !== undefined) {
    const roots = await readRoots(files, silentLog, identity);
    const { masters } = identity;
    return { findings: [examineCertificate(clock, identity)], places: masters.map(place => ({ ...place, roots })) };
  }
  const what = `this node has not joined: there is no identity in ${dataDir}`;
  const fix = 'give the agent what `mesolite token create` prints with --join-file';
  const places = joinString === undefined ? [] : mastersOf(parseJoinString(joinString));
  return { findings: [{ check, state: joinString === undefined ? 'failure' : 'note', what, fix }], places };
}

function examineCertificate(clock: Clock, { chainPem, node, trustDomain }: NodeIdentity): Finding {
  const check = 'certificate';
  const [leaf] = readCertificates(chainPem, 'certificate');
  const leftMs = Date.parse(leaf?.validTo ?? '') - clock.now();
  const who = `${node} of ${trustDomain}`;
  const days = `${Math.abs(leftMs / dayMs).toFixed(1)} days`;
  if (Date.parse(leaf?.validFrom ?? '') > clock.now() + hourMs) {
    const fix = 'set the clock: the certificate is right';
    return { check, state: 'warning', what: `${who}: by this clock the certificate does not hold yet`, fix };
  }
  if (leftMs <= 0) {
    const fix =
      'within the grace of --offline-grace the agent renews it by itself as soon as it reaches the master; later: `mesolite join --replace`';
    return { check, state: 'failure', what: `${who}: the certificate expired ${days} ago`, fix };
  }
  if (leftMs > renewedDays * dayMs) return { check, state: 'ok', what: `${who}, for ${days} more` };
  const fix = 'the agent renews it as soon as it reaches the master: see that it runs, and what `master` says here';
  return { check, state: 'warning', what: `${who}: the certificate was not renewed and holds for ${days} more`, fix };
}

async function any(paths: readonly string[]): Promise<boolean> {
  for (const path of paths) {
    const isThere = await access(path).then(
      () => true,
      () => false,
    );
    if (isThere) return true;
  }
  return false;
}
