/** A public key as RFC 7517 writes it, without what nobody needs here. */
export type PublicKey = Readonly<Record<string, string>>;

/** The keys of an issuer that may sign its tokens. */
export type KeySet = readonly PublicKey[];

export const maxKeys = 64;
/** Of one set, without what nobody needs. */
export const maxKeptBytes = 16 * 1024;
/** Shorter ones are not taken by any library that is careful (RFC 7518 section 3.3). */
const leastRsaBits = 2048;

const kinds: Readonly<Record<string, readonly string[]>> = {
  RSA: ['n', 'e'],
  EC: ['crv', 'x', 'y'],
  OKP: ['crv', 'x'],
};
const curves: ReadonlySet<string> = new Set(['P-256', 'P-384', 'P-521', 'Ed25519']);

/**
 * Reads a JWKS: its keys that sign, of asymmetric kinds. One that holds a secret is refused whole: who can read the policy could then
 * make tokens.
 */
export function readKeySet(text: string): KeySet | { readonly reason: string } {
  const keys = listIn(text);
  if (keys === undefined) return { reason: 'expected a JWKS: {"keys": [{"kty": …}, …]}' };
  if (keys.length > maxKeys) return { reason: `expected at most ${maxKeys} keys, got ${keys.length}` };
  const usable: PublicKey[] = [];
  const reasons = new Set<string>();
  for (const [i, key] of keys.entries()) {
    if (isSecret(key)) return { reason: `keys[${i}] holds a secret: give public keys only, of kty RSA, EC or OKP` };
    const read = readKey(key);
    if (typeof read === 'string') reasons.add(`keys[${i}]: ${read}`);
    else usable.push(read);
  }
  if (usable.length === 0) {
    const [first = 'there is none'] = reasons;
    return { reason: `expected a key that verifies signatures: ${first}` };
  }
  const bytes = JSON.stringify(usable).length;
  return bytes <= maxKeptBytes ? usable : { reason: `expected keys of at most ${maxKeptBytes} bytes, got ${bytes}` };
}

/** Whose fault a set is that could not be read. */
export function isKeySet(read: KeySet | { readonly reason: string }): read is KeySet {
  return Array.isArray(read);
}

type Fields = Readonly<Record<string, unknown>>;

function listIn(text: string): readonly Fields[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const keys: unknown = isFields(value) ? value.keys : undefined;
  return Array.isArray(keys) && keys.every(isFields) ? keys : undefined;
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSecret(key: Fields): boolean {
  return key.kty === 'oct' || 'd' in key || 'k' in key;
}

function readKey(key: Fields): PublicKey | string {
  const kty = textOf(key.kty);
  const parts = Object.hasOwn(kinds, kty) ? kinds[kty] : undefined;
  if (parts === undefined) return `expected kty RSA, EC or OKP, got ${JSON.stringify(kty)}`;
  if (key.use !== undefined && key.use !== 'sig') return 'it is not for signatures';
  if (Array.isArray(key.key_ops) && !key.key_ops.includes('verify')) return 'it is not for signatures';
  const missing = parts.find(part => !/^[A-Za-z0-9_-]+$/.test(textOf(key[part])));
  if (missing !== undefined) return `expected "${missing}" in base64url`;
  if (kty !== 'RSA' && !curves.has(textOf(key.crv))) return `the curve ${JSON.stringify(textOf(key.crv))} is not known`;
  if (kty === 'RSA' && Math.floor((textOf(key.n).length * 6) / 8) * 8 < leastRsaBits) {
    return `expected an RSA key of at least ${leastRsaBits} bits`;
  }
  const kept = ['kty', 'kid', 'alg', ...parts].flatMap(name => {
    const text = textOf(key[name]);
    return text === '' ? [] : [[name, text] as const];
  });
  return Object.fromEntries(kept);
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, 2048) : '';
}
