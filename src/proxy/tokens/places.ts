import type { Buffer } from 'node:buffer';
import type { TokenPlace, TokenRules } from '../../policy/request-authentication.ts';
import { valueText, word } from '../wire/fields.ts';
import type { Head } from '../wire/head.ts';
import { equalsWord } from '../wire/header-names.ts';

/** A token that a request carries. */
export interface FoundToken {
  readonly token: string;
  readonly place: TokenPlace;
  /** The header that it is in; -1 for the query. */
  readonly header: number;
}

const cookieWord = word('cookie');
/** More than any client has reason to send; each costs a signature. */
export const maxTokens = 8;

/** The tokens of a request in the order of the places; at most one more than `maxTokens`. */
export function findTokens({ places }: TokenRules, head: Head, bytes: Buffer): readonly FoundToken[] {
  let found: FoundToken[] = none;
  for (const place of places) {
    const before = found.length;
    if (place.kind === 'header') found = inHeaders(found, place, head, bytes);
    else if (place.kind === 'param') found = inQuery(found, place, head, bytes);
    else found = inCookies(found, place, head, bytes);
    if (found.length !== before && found.length > maxTokens) return found;
  }
  return found;
}

const none: FoundToken[] = [];

function add(found: FoundToken[], one: FoundToken): FoundToken[] {
  if (found === none) return [one];
  found.push(one);
  return found;
}

function inHeaders(
  before: FoundToken[],
  place: TokenPlace & { readonly kind: 'header' },
  head: Head,
  bytes: Buffer,
): FoundToken[] {
  let found = before;
  const { name, prefix, isScheme } = place;
  for (let i = 0; i < head.count; i++) {
    if (!equalsWord(bytes, head.nameStart[i] ?? 0, head.nameEnd[i] ?? 0, name)) continue;
    const value = valueText(head, bytes, i);
    const start = value.slice(0, prefix.length);
    if ((isScheme ? start.toLowerCase() : start) !== prefix || value === '') continue;
    found = add(found, { token: value.slice(prefix.length).trim(), place, header: i });
  }
  return found;
}

function inQuery(
  before: FoundToken[],
  place: TokenPlace & { readonly name: string },
  head: Head,
  bytes: Buffer,
): FoundToken[] {
  if (head.queryStart >= head.pathEnd) return before;
  let found = before;
  for (const part of bytes.toString('latin1', head.queryStart + 1, head.pathEnd).split('&')) {
    if (nameOfParam(part) !== place.name) continue;
    found = add(found, { token: decodeText(part.slice(part.indexOf('=') + 1)), place, header: -1 });
  }
  return found;
}

function inCookies(
  before: FoundToken[],
  place: TokenPlace & { readonly name: string },
  head: Head,
  bytes: Buffer,
): FoundToken[] {
  let found = before;
  for (let i = 0; i < head.count; i++) {
    if (!equalsWord(bytes, head.nameStart[i] ?? 0, head.nameEnd[i] ?? 0, cookieWord)) continue;
    for (const part of valueText(head, bytes, i).split(';')) {
      if (nameOfCookie(part) !== place.name) continue;
      const token = part
        .slice(part.indexOf('=') + 1)
        .trim()
        .replace(/^"(.*)"$/, '$1');
      found = add(found, { token, place, header: i });
    }
  }
  return found;
}

/** A name may be written with escapes, and the application would read it all the same. Without "=" it has no value. */
function nameOfParam(part: string): string | undefined {
  const end = part.indexOf('=');
  return end < 0 ? undefined : decodeText(part.slice(0, end));
}

function nameOfCookie(part: string): string | undefined {
  const end = part.indexOf('=');
  return end < 0 ? undefined : part.slice(0, end).trim();
}

function decodeText(text: string): string {
  if (!/[%+]/.test(text)) return text;
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
}

/** The query without these tokens, with its `?` where something is left. */
export function queryWithout(found: readonly FoundToken[], query: string): string {
  const names = new Set(found.flatMap(({ place }) => (place.kind === 'param' ? [place.name] : [])));
  if (names.size === 0) return query;
  const left = query
    .slice(1)
    .split('&')
    .filter(part => !names.has(nameOfParam(part) ?? ''));
  return left.length === 0 ? '' : `?${left.join('&')}`;
}

/** Takes these tokens out of the headers that are forwarded; the header lines that stand in for what is left of cookies. */
export function dropFromHeaders(found: readonly FoundToken[], head: Head, bytes: Buffer): string {
  let lines = '';
  const cookies = new Set(found.flatMap(({ place }) => (place.kind === 'cookie' ? [place.name] : [])));
  for (const { place, header } of found) {
    if (place.kind === 'header') head.drop(header);
  }
  for (const header of new Set(found.flatMap(({ place, header }) => (place.kind === 'cookie' ? [header] : [])))) {
    const left = valueText(head, bytes, header)
      .split(';')
      .filter(part => !cookies.has(nameOfCookie(part) ?? ''));
    head.drop(header);
    if (left.length > 0) lines += `cookie: ${left.join(';').trim()}\r\n`;
  }
  return lines;
}
