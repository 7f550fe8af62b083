import { networkInterfaces } from 'node:os';

/**
 * Addresses at which other machines may reach this one: of IPv4, or of IPv6 where there is none; 127.0.0.1 when there is no network.
 * Addresses of one link alone mean nothing to others.
 */
export function ownAddresses(interfaces = networkInterfaces()): string[] {
  const outside = Object.values(interfaces)
    .flatMap(addresses => addresses ?? [])
    .filter(address => !address.internal);
  const of = (family: string) =>
    outside.filter(each => each.family === family && !/^fe[89ab]/i.test(each.address)).map(each => each.address);
  return [of('IPv4'), of('IPv6')].find(addresses => addresses.length > 0) ?? ['127.0.0.1'];
}
