/** The headers that a proxy treats in a way of its own; all others are `other` and travel as they are. */
export const headerKind = {
  other: 0,
  host: 1,
  contentLength: 2,
  transferEncoding: 3,
  connection: 4,
  keepAlive: 5,
  upgrade: 6,
  expect: 7,
  te: 8,
  proxyConnection: 9,
  proxyAuthorization: 10,
  proxyAuthenticate: 11,
  clientCertificate: 12,
  requestId: 13,
  /** Named by `Connection`, or taken out by the pipeline. */
  dropped: 14,
  contentType: 15,
  /** A word of the other proxy's to this one: an application's goes no further. */
  refused: 16,
} as const;

const names: Readonly<Record<string, number>> = {
  host: headerKind.host,
  'content-length': headerKind.contentLength,
  'transfer-encoding': headerKind.transferEncoding,
  connection: headerKind.connection,
  'keep-alive': headerKind.keepAlive,
  upgrade: headerKind.upgrade,
  expect: headerKind.expect,
  te: headerKind.te,
  'proxy-connection': headerKind.proxyConnection,
  'proxy-authorization': headerKind.proxyAuthorization,
  'proxy-authenticate': headerKind.proxyAuthenticate,
  'x-forwarded-client-cert': headerKind.clientCertificate,
  'x-request-id': headerKind.requestId,
  'content-type': headerKind.contentType,
  'x-mesolite-refused': headerKind.refused,
};

/** Which kinds are copied into the forwarded head; the framing ones are written anew from what was understood. */
export const travels = new Uint8Array(Math.max(...Object.values(headerKind)) + 1);
for (const kind of [headerKind.other, headerKind.host, headerKind.expect, headerKind.requestId]) travels[kind] = 1;

/** What a name means that stands in `Connection`; undefined when it is a plain header that must not travel. */
export function kindOfWord(word: string): number | undefined {
  return Object.hasOwn(names, word) ? names[word] : undefined;
}

/** Hop-by-hop kinds: they may stand in `Connection`, and are dropped anyway. */
export function isHopByHop(kind: number): boolean {
  return kind >= headerKind.connection && kind <= headerKind.proxyAuthenticate && kind !== headerKind.expect;
}

const longestName = 23;
interface Entry {
  readonly word: Uint8Array;
  readonly kind: number;
}
/** By length and first letter, so that nearly every header is told apart by one look. */
const entries: (readonly Entry[] | undefined)[] = new Array((longestName + 1) * 32).fill(undefined);
for (const [name, kind] of Object.entries(names)) {
  const word = Uint8Array.from(name, character => character.charCodeAt(0));
  const slot = word.length * 32 + ((word[0] ?? 0) & 31);
  entries[slot] = [...(entries[slot] ?? []), { word, kind }];
}

/** The kind of the header name at `start`…`end`, whatever its case. */
export function kindOf(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  if (length > longestName) return headerKind.other;
  const slot = entries[length * 32 + ((bytes[start] ?? 0) & 31)];
  if (slot === undefined) return headerKind.other;
  for (const entry of slot) if (equalsWord(bytes, start, end, entry.word)) return entry.kind;
  return headerKind.other;
}

/** Is the text at `start`…`end` the lower-case `word`, whatever its case? */
export function equalsWord(bytes: Uint8Array, start: number, end: number, word: Uint8Array): boolean {
  if (end - start !== word.length) return false;
  for (let i = 0; i < word.length; i++) {
    const c = bytes[start + i] ?? 0;
    if ((c >= 65 && c <= 90 ? c | 32 : c) !== word[i]) return false;
  }
  return true;
}

const lettersOf = (name: string): Uint8Array => Uint8Array.from(name, c => c.charCodeAt(0));
const disguises = ['transferencoding', 'contentlength', 'xforwardedclientcert'].map(lettersOf);

/**
 * Is it a framing or identity header in a spelling that some application servers fold to the real one, as
 * `Transfer_Encoding` in CGI's environment? Asked only of names that are not special themselves.
 */
export function isDisguised(bytes: Uint8Array, start: number, end: number): boolean {
  const first = (bytes[start] ?? 0) | 32;
  const last = (bytes[end - 1] ?? 0) | 32;
  // the first and last letters of the three: t…g, c…h, x…t
  const suspicious = first === 116 ? last === 103 : first === 99 ? last === 104 : first === 120 && last === 116;
  if (!suspicious) return false;
  for (const letters of disguises) if (readsAs(bytes, start, end, letters)) return true;
  return false;
}

/** Are the letters of the name at `start`…`end` these lower-case ones, whatever their case and whatever stands between them? */
export function readsAs(bytes: Uint8Array, start: number, end: number, letters: Uint8Array): boolean {
  let at = 0;
  for (let i = start; i < end; i++) {
    const c = (bytes[i] ?? 0) | 32;
    if (c < 97 || c > 122) continue;
    if (c !== letters[at]) return false;
    at++;
  }
  return at === letters.length;
}
