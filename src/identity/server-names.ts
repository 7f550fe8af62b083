import { Buffer } from 'node:buffer';
import { isIP } from 'node:net';
import { MesoliteError } from '../base/errors.ts';
import type { AlternativeName } from './extensions.ts';

const maxNames = 64;
const dnsName = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*$/;

/** DNS names and IP addresses, as an operator writes them, for a server's certificate; throws INVALID_INPUT. */
export function serverNames(names: readonly string[]): AlternativeName[] {
  if (names.length > maxNames) {
    throw new MesoliteError('INVALID_INPUT', `server names: ${names.length} of them, at most ${maxNames} are taken`);
  }
  return [...new Set(names.map(name => name.toLowerCase()))].map(serverName);
}

function serverName(name: string): AlternativeName {
  const version = isIP(name);
  if (version === 4) return { kind: 'ip', value: Buffer.from(name.split('.').map(Number)).toString('hex') };
  if (version === 6 && !name.includes('%')) return { kind: 'ip', value: ipv6Hex(name) };
  if (version === 0 && dnsName.test(name)) return { kind: 'dns', value: name };
  throw new MesoliteError(
    'INVALID_INPUT',
    `server names: ${JSON.stringify(name)} is no DNS name and no IP address without a zone`,
  );
}

/** The 16 bytes of an address that `isIP` has taken; URL writes it with `::` for the longest run of zeros, and no dots. */
function ipv6Hex(address: string): string {
  const [head = '', tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::');
  const groups = (text: string) => text.split(':').filter(group => group !== '');
  const left = groups(head);
  const right = groups(tail ?? '');
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  return [...left, ...zeros, ...right].map(group => group.padStart(4, '0')).join('');
}
