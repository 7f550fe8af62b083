import { execFile } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { NetworkLink } from '../model/profile.ts';
import { namesIn, textOf } from './kernel-files.ts';

/** A board with more of them tells the first ones. */
const maxLinks = 8;
const nmcliTimeoutMs = 5_000;

/** What leads out of this machine: its network interfaces that are up, without bridges and other things of software; the default one first. */
export function readNetwork(root = '/'): NetworkLink[] {
  const folder = join(root, 'sys/class/net');
  const byDefault = defaultInterface(root);
  return namesIn(folder)
    .filter(name => isWay(join(folder, name), name))
    .map(name => ({ name, kind: kindOf(join(folder, name), name), ...(name === byDefault && { isDefault: true }) }))
    .sort((a, b) => Number('isDefault' in b) - Number('isDefault' in a))
    .slice(0, maxLinks);
}

/**
 * Is the way by which this machine reaches others paid for by the byte? As NetworkManager says (an operator's `connection.metered`, or
 * what a phone announces), or else where it is a mobile network.
 */
export async function readMetered(links: readonly NetworkLink[]): Promise<boolean> {
  const used = links.find(({ isDefault }) => isDefault === true);
  if (used === undefined) return false;
  const told = await askNetworkManager(used.name);
  return told ?? used.kind === 'mobile';
}

/** Undefined where it does not run, or does not know. */
async function askNetworkManager(name: string): Promise<boolean | undefined> {
  try {
    const question = ['-g', 'GENERAL.METERED', 'device', 'show', name];
    const { stdout } = await promisify(execFile)('nmcli', question, { timeout: nmcliTimeoutMs, maxBuffer: 4096 });
    // a guess of its own, `yes (guessed)`, is by the kind of link, too
    return /^yes/.test(stdout) ? true : /^no\b/.test(stdout) ? false : undefined;
  } catch {
    return undefined;
  }
}

/** linux/if_arp.h */
const types = { ethernet: '1', ppp: '512', rawIp: '519' } as const;

function isWay(path: string, name: string): boolean {
  if (!['up', 'unknown'].includes(textOf(join(path, 'operstate')))) return false;
  return isMobile(path, name) || (textOf(join(path, 'type')) === types.ethernet && !isSoftware(path));
}

function kindOf(path: string, name: string): NetworkLink['kind'] {
  if (isMobile(path, name)) return 'mobile';
  const isWireless = ['wireless', 'phy80211'].some(each => existsSync(join(path, each)));
  return isWireless ? 'wifi' : 'ethernet';
}

function isMobile(path: string, name: string): boolean {
  const type = textOf(join(path, 'type'));
  if (type === types.ppp || type === types.rawIp || /^(wwan|wwp|rmnet)/.test(name)) return true;
  return /^DEVTYPE=wwan$/m.test(textOf(join(path, 'uevent')));
}

function isSoftware(path: string): boolean {
  try {
    return realpathSync(path).includes('/devices/virtual/');
  } catch {
    return false;
  }
}

/** Of the default routes that with the lowest metric, of IPv4 or else of IPv6. */
function defaultInterface(root: string): string | undefined {
  const up = 1;
  const routes4 = rows(join(root, 'proc/net/route'))
    // with a mask it is half of everywhere, as OpenVPN has its tunnel go before the way that carries it
    .filter(([, to, , flags = '0', , , , mask]) => {
      return to === '00000000' && mask === '00000000' && (Number.parseInt(flags, 16) & up) !== 0;
    })
    .map(([name = '', , , , , , metric = '0']) => ({ name, metric: Number(metric) }));
  const routes6 = rows(join(root, 'proc/net/ipv6_route'))
    .filter(([to = '', bits, , , , , , , flags = '0', name]) => {
      return /^0+$/.test(to) && bits === '00' && (Number.parseInt(flags, 16) & up) !== 0 && name !== 'lo';
    })
    .map(fields => ({ name: fields[9] ?? '', metric: Number.parseInt(fields[5] ?? '0', 16) }));
  const [best] = [routes4, routes6].find(routes => routes.length > 0)?.sort((a, b) => a.metric - b.metric) ?? [];
  return best?.name;
}

function rows(path: string): string[][] {
  return textOf(path)
    .split('\n')
    .map(line => line.trim().split(/\s+/));
}
