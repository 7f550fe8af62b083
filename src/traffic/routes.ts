import type { ServiceRef } from '../model/ids.ts';
import { meshDomain } from '../model/service.ts';

const label = '[a-z0-9-]{1,63}';
const shortName = new RegExp(`^${label}$`);
const fullName = new RegExp(`^(${label})\\.(${label})\\.${meshDomain}$`);

/**
 * The service that a request's authority names: `<service>` in the caller's namespace, or `<service>.<namespace>.mesh`;
 * undefined when the host is not of the mesh. A port is not looked at, since a service has exactly one.
 */
export function serviceOfHost(authority: string, ownNamespace: string): ServiceRef | undefined {
  const colon = authority.lastIndexOf(':');
  const host = (colon < 0 ? authority : authority.slice(0, colon)).toLowerCase();
  const [, name, namespace] = fullName.exec(host) ?? [];
  if (name !== undefined && namespace !== undefined) return { name, namespace };
  return shortName.test(host) ? { name: host, namespace: ownNamespace } : undefined;
}
