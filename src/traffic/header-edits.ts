import { Buffer } from 'node:buffer';
import type { HeaderOperations } from '../model/virtual-service.ts';

/** What a route does to a head: these headers go, then these lines come. */
export interface HeaderEdits {
  /** Lower-case names, as bytes. */
  readonly drops: readonly Uint8Array[];
  /** Each ends in CR LF. */
  readonly lines: string;
}

/** Framing, connection and identity are the proxy's own, and the authority has a field of its own. */
const ownHeaders: Readonly<Record<string, string>> = {
  host: 'write rewrite.authority',
  'content-length': 'the proxy frames messages by itself',
  'transfer-encoding': 'the proxy frames messages by itself',
  connection: 'it belongs to the connection, not to the message',
  'keep-alive': 'it belongs to the connection, not to the message',
  'proxy-connection': 'it belongs to the connection, not to the message',
  'proxy-authorization': 'it belongs to the connection, not to the message',
  'proxy-authenticate': 'it belongs to the connection, not to the message',
  upgrade: 'it belongs to the connection, not to the message',
  te: 'it belongs to the connection, not to the message',
  trailer: 'it belongs to the body',
  expect: 'the proxy answers it by itself',
  'x-forwarded-client-cert': 'it says who calls, which only the proxy knows',
};

const namePattern = /^[!#$%&'*+.^`|~0-9A-Za-z-]+$/;
const valuePattern = /^[\t\x20-\x7e]*$/;

/** Why a header may not be named so, or have that value; undefined when it may. */
export function headerProblem(name: string, value = ''): string | undefined {
  const own = ownHeaders[name.toLowerCase()];
  if (own !== undefined) return `may not be changed: ${own}`;
  if (name.startsWith(':')) return 'a pseudo header: write rewrite.uri or rewrite.authority';
  if (!namePattern.test(name)) return 'is no name of a header';
  if (!valuePattern.test(value)) return 'has a value with control or non-ASCII characters';
  if (value.includes('%')) return 'has a value with "%", which means a variable to Envoy: variables are not supported';
  return undefined;
}

/** The edits of operations that are carried out one after another; undefined when they do nothing. */
export function compileHeaderEdits(...all: readonly (HeaderOperations | undefined)[]): HeaderEdits | undefined {
  const drops = new Set<string>();
  let lines: { readonly name: string; readonly line: string }[] = [];
  for (const operations of all) {
    if (operations === undefined) continue;
    const { set = {}, add = {}, remove = [] } = operations;
    const gone = new Set([...remove, ...Object.keys(set)].map(name => name.toLowerCase()));
    for (const name of gone) drops.add(name);
    lines = lines.filter(({ name }) => !gone.has(name));
    for (const [name, value] of [...Object.entries(set), ...Object.entries(add)]) {
      lines.push({ name: name.toLowerCase(), line: `${name.toLowerCase()}: ${value}\r\n` });
    }
  }
  if (drops.size === 0 && lines.length === 0) return undefined;
  return { drops: [...drops].map(name => Buffer.from(name, 'latin1')), lines: lines.map(({ line }) => line).join('') };
}
