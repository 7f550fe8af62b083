import type { Buffer } from 'node:buffer';
import type { Random } from '../../base/random.ts';
import type { HashKey } from '../../traffic/cluster.ts';
import { hash32 } from '../../traffic/hash.ts';
import type { Exchange } from '../wire/exchange.ts';
import { fieldNamed } from '../wire/fields.ts';
import type { Head } from '../wire/head.ts';

/**
 * Notes in `exchange.hash` what decides the host of a request. Without the header, the parameter or the cookie any host is right; a client
 * that shall have a cookie is given one that leads to the same host from now on (Envoy's hash policies).
 */
export function noteHash(
  exchange: Exchange,
  key: HashKey,
  { task, random }: { readonly task: string; readonly random: Random },
  head: Head,
  bytes: Buffer,
): void {
  const value = keyOf(key, task, head, bytes);
  if (value !== undefined) exchange.hash = hash32(value);
  else if (key.from === 'cookie' && key.ttlSeconds !== undefined) {
    const made = (Math.floor(random() * 2 ** 32) * 2 ** 20 + Math.floor(random() * 2 ** 20))
      .toString(16)
      .padStart(13, '0');
    const path = key.path === '' ? '' : `; Path=${key.path}`;
    const age = key.ttlSeconds === 0 ? '' : `; Max-Age=${key.ttlSeconds}`;
    exchange.responseAdditions += `set-cookie: ${key.name}=${made}${age}${path}; HttpOnly\r\n`;
    exchange.hash = hash32(made);
  }
}

function keyOf(key: HashKey, task: string, head: Head, bytes: Buffer): string | undefined {
  switch (key.from) {
    case 'header':
      return fieldNamed(head, bytes, key.name);
    case 'cookie':
      return cookieNamed(fieldNamed(head, bytes, 'cookie') ?? '', key.name);
    case 'query':
      return parameterNamed(bytes.toString('latin1', head.queryStart + 1, head.pathEnd), key.name);
    case 'source':
      // tasks of a node have no addresses of their own
      return task;
    default:
      return key satisfies never;
  }
}

/** Its value without quotes; empty is none. Several `Cookie` headers have been joined by a comma, which HTTP/1.1 does not send. */
function cookieNamed(header: string, name: string): string | undefined {
  return firstNamed(header.split(';'), name)?.replace(/^"(.*)"$/, '$1') || undefined;
}

function parameterNamed(query: string, name: string): string | undefined {
  return firstNamed(query.split('&'), name);
}

function firstNamed(pairs: readonly string[], name: string): string | undefined {
  for (const pair of pairs) {
    const text = pair.trim();
    if (text.length > name.length && text.startsWith(name) && text[name.length] === '=')
      return text.slice(name.length + 1);
  }
  return undefined;
}
