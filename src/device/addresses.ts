import { networkInterfaces } from 'node:os';

/** IPv4 addresses at which other machines may reach this one; 127.0.0.1 when there is no network. */
export function ownAddresses(): string[] {
  const outside = Object.values(networkInterfaces())
    .flatMap(addresses => addresses ?? [])
    .filter(address => !address.internal && address.family === 'IPv4')
    .map(address => address.address);
  return outside.length === 0 ? ['127.0.0.1'] : outside;
}
