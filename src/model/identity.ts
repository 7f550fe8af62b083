import { dayMs } from '../base/clock.ts';

/** What a SPIFFE id of this system names. */
export type SpiffeId =
  | { readonly kind: 'node'; readonly trustDomain: string; readonly node: string }
  | {
      readonly kind: 'workload';
      readonly trustDomain: string;
      readonly namespace: string;
      readonly serviceAccount: string;
    }
  | { readonly kind: 'master'; readonly trustDomain: string }
  /** A broker that is not the master's own: it carries what others sign. */
  | { readonly kind: 'broker'; readonly trustDomain: string }
  /** The key that signs what the master publishes. */
  | { readonly kind: 'config'; readonly trustDomain: string };

/** The longest that a node which is cut off may go on with certificates that have expired. */
export const maxOfflineGraceMs = 90 * dayMs;

const trustDomainPattern = /^[a-z0-9]([a-z0-9.-]{0,253}[a-z0-9])?$/;
const name = '[a-z0-9-]{1,63}';
const nodePath = new RegExp(`^node/(${name})$`);
const workloadPath = new RegExp(`^ns/(${name})/sa/(${name})$`);

export function isTrustDomain(text: string): boolean {
  return trustDomainPattern.test(text);
}

/** Reads `spiffe://<trust domain>/<path>`; undefined when it is not one of these kinds. */
export function parseSpiffeId(uri: string): SpiffeId | undefined {
  if (!uri.startsWith('spiffe://') || uri.length > 2048) return undefined;
  const slash = uri.indexOf('/', 9);
  const trustDomain = uri.slice(9, slash);
  if (slash < 0 || !isTrustDomain(trustDomain)) return undefined;
  const path = uri.slice(slash + 1);
  if (path === 'master') return { kind: 'master', trustDomain };
  if (path === 'broker') return { kind: 'broker', trustDomain };
  if (path === 'config') return { kind: 'config', trustDomain };
  const node = nodePath.exec(path)?.[1];
  if (node !== undefined) return { kind: 'node', trustDomain, node };
  const [, namespace, serviceAccount] = workloadPath.exec(path) ?? [];
  if (namespace === undefined || serviceAccount === undefined) return undefined;
  return { kind: 'workload', trustDomain, namespace, serviceAccount };
}

export function printSpiffeId(id: SpiffeId): string {
  const root = `spiffe://${id.trustDomain}`;
  switch (id.kind) {
    case 'node':
      return `${root}/node/${id.node}`;
    case 'workload':
      return `${root}/ns/${id.namespace}/sa/${id.serviceAccount}`;
    case 'master':
    case 'broker':
    case 'config':
      return `${root}/${id.kind}`;
    default:
      return id satisfies never;
  }
}

/** Istio's principal of a workload: its SPIFFE id without the scheme. */
export function principalOf(id: SpiffeId): string {
  return printSpiffeId(id).slice('spiffe://'.length);
}

/** A peer whose certificate chain has been verified; decoded once per TLS session. */
export interface Peer {
  readonly id: SpiffeId;
  readonly uri: string;
  readonly principal: string;
  /** Upper-case hexadecimal serial number, as node:crypto prints it. */
  readonly serial: string;
  /** Lower-case hexadecimal SHA-256 of the DER certificate: `Hash=` in x-forwarded-client-cert. */
  readonly sha256: string;
  /** Milliseconds since 1970. */
  readonly notAfter: number;
}
