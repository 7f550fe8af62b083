import { Buffer } from 'node:buffer';
import { isIP } from 'node:net';
import { MesoliteError } from '../base/errors.ts';
import { type Cidr, contains, parseAddress, parseCidr } from '../base/match.ts';

/** An HTTP proxy that opens tunnels with CONNECT. */
export interface HttpProxy {
  readonly host: string;
  readonly port: number;
  /** Spoken to over TLS, itself. */
  readonly isTls: boolean;
  /** `Basic …`; never logged. */
  readonly authorization?: string;
}

/** As the environment says it; both may be empty. */
export interface ProxySettings {
  /** `HTTPS_PROXY`: `http://[user:password@]host[:port]`, or `https:`. */
  readonly httpsProxy?: string | undefined;
  /** `NO_PROXY`: names, `.suffixes`, addresses and networks that are reached without it, with commas between; `*` is all. */
  readonly noProxy?: string | undefined;
}

/** Which proxy leads to a host, if any. */
export type ProxyRules = (host: string, port: number) => HttpProxy | undefined;

/** Go's rules (golang.org/x/net/http/httpproxy); this machine itself is never reached through a proxy. Throws INVALID_INPUT. */
export function readProxyRules({ httpsProxy = '', noProxy = '' }: ProxySettings): ProxyRules {
  if (httpsProxy.trim() === '') return () => undefined;
  const proxy = parseProxy(httpsProxy.trim());
  const exceptions = noProxy.split(',').flatMap(text => parseException(text.trim().toLowerCase()));
  return (host, port) => {
    const target = targetOf(host, port);
    return isLocal(target) || exceptions.some(matches => matches(target)) ? undefined : proxy;
  };
}

function parseProxy(text: string): HttpProxy {
  // what came is not repeated: it may hold a password
  const wrong = () => new MesoliteError('INVALID_INPUT', 'HTTPS_PROXY: expected http://[user:password@]host[:port]');
  let url: URL;
  let user: string;
  try {
    url = new URL(text.includes('://') ? text : `http://${text}`);
    user = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  } catch {
    throw wrong();
  }
  const isTls = url.protocol === 'https:';
  if ((!isTls && url.protocol !== 'http:') || url.hostname === '') throw wrong();
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? (isTls ? 443 : 80) : Number(url.port),
    isTls,
    ...(user === ':' ? {} : { authorization: `Basic ${Buffer.from(user).toString('base64')}` }),
  };
}

interface Target {
  readonly host: string;
  readonly port: number;
  /** Undefined for a name. */
  readonly address: Cidr['base'] | undefined;
}

function targetOf(host: string, port: number): Target {
  const address = parseAddress(host);
  return { host: host.toLowerCase().replace(/\.$/, ''), port, address: 'reason' in address ? undefined : address };
}

const loopbacks = ['127.0.0.0/8', '::1'].flatMap(text => parsedCidr(text) ?? []);

function isLocal({ host, address }: Target): boolean {
  return host === 'localhost' || (address !== undefined && loopbacks.some(block => contains(block, address)));
}

/** None for what cannot be read, as elsewhere: one wrong entry must not cut a node off. */
function parseException(text: string): ((target: Target) => boolean)[] {
  if (text === '') return [];
  if (text === '*') return [() => true];
  const block = parsedCidr(text);
  if (block !== undefined) return [({ address }) => address !== undefined && contains(block, address)];
  const [, bracketed, plain = '', digits] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const onPort = (port: number) => digits === undefined || Number(digits) === port;
  const alone = isIP(bracketed ?? plain) === 0 ? undefined : parsedCidr(bracketed ?? plain);
  if (alone !== undefined) {
    return [({ address, port }) => address !== undefined && contains(alone, address) && onPort(port)];
  }
  const suffix = plain.replace(/^\*?\./, '.');
  if (suffix.startsWith('.')) return [({ host, port }) => host.endsWith(suffix) && onPort(port)];
  return [({ host, port }) => (host === plain || host.endsWith(`.${plain}`)) && onPort(port)];
}

function parsedCidr(text: string): Cidr | undefined {
  const block = parseCidr(text);
  return 'reason' in block ? undefined : block;
}
