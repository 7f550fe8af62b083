import { isIPv4 } from 'node:net';

/** Mesos' `MasterInfo`: `ip` is the address as a number, in the byte order of the network read on a little-endian machine. */
export function masterInfoOf(master: {
  readonly epoch: number;
  readonly hosts: readonly string[];
  readonly port: number;
  readonly version: string;
}): object {
  const { epoch, hosts, port, version } = master;
  const hostname = hosts[0] ?? 'localhost';
  const ip = hosts.find(host => isIPv4(host)) ?? '127.0.0.1';
  const number = Buffer.from(ip.split('.').map(Number)).readUInt32LE();
  return { id: `master-${epoch}`, ip: number, port, hostname, version, address: { hostname, ip, port } };
}
