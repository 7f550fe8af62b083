import { isIPv4 } from 'node:net';

/** Who this master is, as clients of Mesos see it. */
export interface MasterFacts {
  readonly version: string;
  readonly id: string;
  readonly hostname: string;
  readonly port: number;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** Mesos' `MasterInfo`. */
  readonly info: object;
}

/** `ip` of `MasterInfo` is the address as a number, in the byte order of the network read on a little-endian machine. */
export function masterFactsOf(master: {
  readonly epoch: number;
  readonly hosts: readonly string[];
  readonly port: number;
  readonly version: string;
  readonly startedAt: number;
}): MasterFacts {
  const { epoch, hosts, port, version, startedAt } = master;
  const id = `master-${epoch}`;
  const hostname = hosts[0] ?? 'localhost';
  const ip = hosts.find(host => isIPv4(host)) ?? '127.0.0.1';
  const number = Buffer.from(ip.split('.').map(Number)).readUInt32LE();
  const info = { id, ip: number, port, hostname, version: mesosVersion, address: { hostname, ip, port } };
  return { version, id, hostname, port, startedAt, info };
}

/** Clients read the version of Mesos whose API this is. */
export const mesosVersion = '1.11.0';
