import { Buffer } from 'node:buffer';
import { isIP, isIPv6 } from 'node:net';
import * as v from 'valibot';
import { isMesoliteError, MesoliteError } from '../base/errors.ts';
import { decodeJson } from '../base/shape.ts';
import type { JoinToken } from './token.ts';

/** Where the master's MQTT broker listens. */
export interface JoinAddress {
  /** A DNS name or an IP address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

/** All that a board must be told to join. */
export interface JoinString extends JoinToken {
  readonly addresses: readonly JoinAddress[];
  /** Where each of these hosts takes MQTT over WebSocket, too. */
  readonly wssPort?: number;
  /** Lower-case hexadecimal SHA-256 of the root's DER. */
  readonly rootSha256: string;
}

const prefix = 'mesolite-join-1.';
const maxLength = 4096;
const maxAddresses = 8;
const what = 'join string';

// every message is written out: valibot's own would quote what came, and that may be the secret
const word = (pattern: RegExp, expected: string) =>
  v.pipe(v.string(`expected ${expected}`), v.regex(pattern, `expected ${expected}`));

const joinStringSchema = v.strictObject({
  a: v.pipe(
    v.array(word(/^.{3,262}$/, 'addresses of the form host:port'), 'expected a list of addresses'),
    v.minLength(1, 'expected at least one address'),
    v.maxLength(maxAddresses, `expected at most ${maxAddresses} addresses`),
  ),
  w: v.optional(
    v.pipe(
      v.number('expected a port'),
      v.integer('expected a port'),
      v.minValue(1, 'expected a port'),
      v.maxValue(65_535, 'expected a port'),
    ),
  ),
  r: word(/^[0-9a-f]{64}$/, 'the SHA-256 of the root in hexadecimal'),
  i: word(/^[A-Za-z0-9_-]{1,64}$/, 'the id of the token'),
  s: word(/^[A-Za-z0-9_-]{43}$/, 'a secret of 256 bits in base64url'),
});

/** The one string that `mesolite agent --join` takes; it holds the secret. Throws INVALID_INPUT for an address that cannot be. */
export function printJoinString(join: JoinString): string {
  const { addresses, wssPort, rootSha256, id, secret } = join;
  const more = wssPort === undefined ? {} : { w: wssPort };
  const content = { a: addresses.map(printAddress), ...more, r: rootSha256, i: id, s: secret };
  const text = prefix + Buffer.from(JSON.stringify(content)).toString('base64url');
  parseJoinString(text);
  return text;
}

/** Reads a join string, white space around it aside; throws INVALID_INPUT or TOO_LARGE without a word of its secret. */
export function parseJoinString(input: string): JoinString {
  if (input.length > maxLength) throw new MesoliteError('TOO_LARGE', `${what}: more than ${maxLength} characters`);
  const text = input.trim();
  if (!text.startsWith(prefix)) {
    throw invalid(`expected it to begin with ${prefix}, as \`mesolite token create\` prints it`);
  }
  const encoded = text.slice(prefix.length);
  const bytes = Buffer.from(encoded, 'base64url');
  // Node skips what is not base64url, and a string that was cut or wrapped must not be half read
  if (bytes.toString('base64url') !== encoded) throw invalid('damaged: was it copied whole, on one line?');
  const { a, w, r, i, s } = decodeContent(bytes);
  const more = w === undefined ? {} : { wssPort: w };
  return { addresses: a.map(parseAddress), ...more, rootSha256: r, id: i, secret: s };
}

function decodeContent(bytes: Buffer): v.InferOutput<typeof joinStringSchema> {
  try {
    return decodeJson(joinStringSchema, bytes, what, { maxBytes: maxLength, maxDepth: 4, isSecret: true });
  } catch (error) {
    // the cause, JSON's own error, quotes what it could not read
    if (isMesoliteError(error)) throw new MesoliteError(error.code, error.message);
    throw error;
  }
}

function printAddress({ host, port }: JoinAddress): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

function parseAddress(text: string): JoinAddress {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain ?? '';
  const port = Number(digits);
  const isHost = bracketed === undefined ? isIP(host) === 4 || /^[A-Za-z0-9_.-]{1,253}$/.test(host) : isIPv6(host);
  if (!isHost || !(port >= 1 && port <= 65_535)) throw invalid('an address is not of the form host:port');
  return { host, port };
}

function invalid(reason: string): MesoliteError {
  return new MesoliteError('INVALID_INPUT', `${what}: ${reason}`);
}
