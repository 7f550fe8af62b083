import type { ServiceRef } from '../model/ids.ts';
import { meshDomain } from '../model/service.ts';

const label = '[a-z0-9-]{1,63}';
const shortName = new RegExp(`^${label}$`);
const fullName = new RegExp(`^(${label})\\.(${label})\\.(?:${meshDomain}|svc|svc\\.cluster\\.local)$`);

/**
 * The service that a request's authority, or a host in a traffic policy, names: `<service>` in the own namespace (the caller's, or the
 * policy's), `<service>.<namespace>.mesh`, or `<service>.<namespace>.svc.cluster.local` as Istio's files have it; undefined when the host
 * is not of the mesh. A port is not looked at, since a service has exactly one.
 */
export function serviceOfHost(authority: string, ownNamespace: string): ServiceRef | undefined {
  const colon = authority.lastIndexOf(':');
  const host = (colon < 0 ? authority : authority.slice(0, colon)).toLowerCase();
  const [, name, namespace] = fullName.exec(host) ?? [];
  if (name !== undefined && namespace !== undefined) return { name, namespace };
  return shortName.test(host) ? { name: host, namespace: ownNamespace } : undefined;
}
