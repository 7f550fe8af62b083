/**
 * Istio's string rule (istio/istio pilot/pkg/security/authz/matcher/string.go): `abc` exact, `abc*` prefix, `*abc` suffix,
 * `*` present, that is not empty; a `*` anywhere else is an ordinary character.
 */
export interface TextMatch {
  readonly kind: 'exact' | 'prefix' | 'suffix' | 'present';
  /** Without its `*`; in lower case when case is ignored. */
  readonly text: string;
  readonly ignoreCase: boolean;
}

export function parseTextMatch(pattern: string, ignoreCase = false): TextMatch {
  const text = ignoreCase ? pattern.toLowerCase() : pattern;
  if (text === '*') return { kind: 'present', text: '', ignoreCase };
  if (text.startsWith('*')) return { kind: 'suffix', text: text.slice(1), ignoreCase };
  if (text.endsWith('*')) return { kind: 'prefix', text: text.slice(0, -1), ignoreCase };
  return { kind: 'exact', text, ignoreCase };
}

/** An absent value (undefined) matches nothing. */
export function matchesText(match: TextMatch, value: string | undefined): boolean {
  if (value === undefined) return false;
  const text = match.ignoreCase ? value.toLowerCase() : value;
  switch (match.kind) {
    case 'exact':
      return text === match.text;
    case 'prefix':
      return text.startsWith(match.text);
    case 'suffix':
      return text.endsWith(match.text);
    case 'present':
      return text !== '';
    default:
      return match.kind satisfies never;
  }
}

/** Why a text could not be read. */
export interface Unreadable {
  readonly reason: string;
}

/** An IP address; an IPv4-mapped IPv6 one (`::ffff:10.0.0.1`) is its IPv4 address. IPv4 has one word, IPv6 four, of 32 bits each. */
export interface Address {
  readonly family: 4 | 6;
  readonly words: readonly number[];
}

/** A block of addresses: those that share the first `bits` bits with `base`. */
export interface Cidr {
  readonly base: Address;
  readonly bits: number;
}

/** Reads an IPv4 or IPv6 address without zone or port (RFC 4291, and as Go's netip: no leading zeros). */
export function parseAddress(text: string): Address | Unreadable {
  const words = text.includes(':') ? parseWords6(text) : parseWord4(text);
  if (words === undefined) return { reason: `expected an IP address, got ${JSON.stringify(text.slice(0, 80))}` };
  const [a, b, c, d] = words;
  if (b === undefined || c === undefined || d === undefined) return { family: 4, words };
  if (a === 0 && b === 0 && c === 0xffff) return { family: 4, words: [d] };
  return { family: 6, words };
}

/** Reads `10.1.0.0/16`, `fd00::/8` or a single address; bits of the host part are ignored. */
export function parseCidr(text: string): Cidr | Unreadable {
  const slash = text.indexOf('/');
  const addressText = slash < 0 ? text : text.slice(0, slash);
  const base = parseAddress(addressText);
  if ('reason' in base) return base;
  const written = addressText.includes(':') ? 128 : 32;
  const bits = slash < 0 ? written : parseBits(text.slice(slash + 1), written);
  if (bits === undefined) return { reason: `expected a prefix length of 0 to ${written}, got ${JSON.stringify(text)}` };
  if (base.family === 6 || written === 32) return { base, bits };
  if (bits < 96) return { reason: `${JSON.stringify(text)} is IPv4-mapped: expected its IPv4 form or at least /96` };
  return { base, bits: bits - 96 };
}

export function contains(block: Cidr, address: Address): boolean {
  if (block.base.family !== address.family) return false;
  let left = block.bits;
  for (let i = 0; left > 0; i++, left -= 32) {
    const differing = (block.base.words[i] ?? 0) ^ (address.words[i] ?? 0);
    if (left >= 32 ? differing !== 0 : differing >>> (32 - left) !== 0) return false;
  }
  return true;
}

function parseBits(text: string, max: number): number | undefined {
  if (!/^(0|[1-9]\d{0,2})$/.test(text)) return undefined;
  const bits = Number(text);
  return bits <= max ? bits : undefined;
}

const quad = /^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/;

function parseWord4(text: string): [number] | undefined {
  const parts = quad.exec(text)?.slice(1).map(Number);
  if (parts === undefined || parts.some(part => part > 255)) return undefined;
  return [parts.reduce((word, part) => ((word << 8) | part) >>> 0, 0)];
}

function parseWords6(text: string): number[] | undefined {
  if (text.length > 45) return undefined;
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head = '', tail] = halves;
  const before = parseGroups(head, tail === undefined);
  const after = tail === undefined ? [] : parseGroups(tail, true);
  if (before === undefined || after === undefined) return undefined;
  const missing = 8 - before.length - after.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = [...before, ...new Array<number>(missing).fill(0), ...after];
  return [0, 2, 4, 6].map(i => (((groups[i] ?? 0) << 16) | (groups[i + 1] ?? 0)) >>> 0);
}

/** Groups of 16 bits; the last may be a dotted IPv4 address when `last` says that nothing follows. */
function parseGroups(text: string, last: boolean): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
      continue;
    }
    const [word] = last && i === parts.length - 1 ? (parseWord4(part) ?? []) : [];
    if (word === undefined) return undefined;
    groups.push(word >>> 16, word & 0xffff);
  }
  return groups;
}
