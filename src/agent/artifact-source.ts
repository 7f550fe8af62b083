import { isIPv6 } from 'node:net';
import { MesoliteError } from '../base/errors.ts';
import type { TlsDialParts } from '../link/dial.ts';
import { fetchRange } from '../link/fetch-range.ts';
import type { ProxyRules } from '../link/proxy-rules.ts';
import { ownHashOf } from '../model/artifact.ts';
import type { OpenSource } from './artifact-cache.ts';

/** Opens artifacts of the web, and those of the master with the node's own certificate, at each attempt at the next of its addresses. */
export function makeOpenSource(parts: {
  readonly proxyFor: ProxyRules;
  /** How masters are spoken to. */
  readonly master: TlsDialParts;
  /** Where the API of the master is. */
  readonly addresses: () => readonly { readonly host: string; readonly port: number }[];
}): OpenSource {
  const { proxyFor, master, addresses } = parts;
  return (source, begun, attempt, signal) => {
    const sha256 = ownHashOf(source);
    if (sha256 === undefined) return fetchRange(url => webParts(url, proxyFor), webUrl(source), begun, signal);
    const all = addresses();
    const address = all[attempt % all.length];
    if (address === undefined) throw new MesoliteError('UNAVAILABLE', 'the master has not said yet where its API is');
    const { host, port } = address;
    const url = new URL(`https://${isIPv6(host) ? `[${host}]` : host}:${port}/v1/artifacts/${sha256}/content`);
    return fetchRange(() => master, url, begun, signal);
  };
}

function webUrl(source: string): URL {
  try {
    return new URL(source);
  } catch (cause) {
    throw new MesoliteError('INVALID_INPUT', 'it is no address', { cause });
  }
}

/** The server has to show a certificate for its name that this system, or `NODE_EXTRA_CA_CERTS`, believes. */
function webParts(url: URL, proxyFor: ProxyRules): TlsDialParts {
  // the name is told for the sake of a tunnel, whose socket has the name of the proxy
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { tls: () => ({ host }), verifyServer: () => undefined, proxyFor };
}
