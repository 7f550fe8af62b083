import { Buffer } from 'node:buffer';
import { MesoliteError } from '../base/errors.ts';
import {
  bitString,
  boolean,
  booleanOf,
  childrenOf,
  contentOf,
  type DerElement,
  type DerValue,
  element,
  encodeDer,
  integer,
  octetString,
  oid,
  oidOf,
  readDer,
  sequence,
  smallIntegerOf,
  tags,
} from './der.ts';

/** One subject alternative name (RFC 5280 4.2.1.6); `ip` holds the 4 or 16 bytes in hexadecimal, `other` the tag. */
export interface AlternativeName {
  readonly kind: 'uri' | 'dns' | 'ip' | 'other';
  readonly value: string;
}

/** Bits of keyUsage (RFC 5280 4.2.1.3) that are used here. */
export const keyUsageBits = { digitalSignature: 0x80, keyCertSign: 0x04, cRLSign: 0x02 } as const;
export type KeyUsage = keyof typeof keyUsageBits;

export const extendedKeyUsages = { serverAuth: '1.3.6.1.5.5.7.3.1', clientAuth: '1.3.6.1.5.5.7.3.2' } as const;
export type ExtendedKeyUsage = keyof typeof extendedKeyUsages;

/** What a certificate of this system says beyond names, key and time. */
export interface ExtensionTemplate {
  /** An authority, with at most this many more below it. */
  readonly pathLength?: number;
  readonly keyUsage: readonly KeyUsage[];
  readonly extendedKeyUsage: readonly ExtendedKeyUsage[];
  readonly names: readonly AlternativeName[];
  readonly subjectKeyId: Uint8Array;
  readonly authorityKeyId: Uint8Array;
}

/** What was read of a certificate's or a request's extensions; of what is absent there is nothing. */
export interface Extensions {
  readonly oids: readonly string[];
  /** Critical ones that are not understood here: such a certificate must be refused (RFC 5280 4.2). */
  readonly unknownCritical: readonly string[];
  readonly isAuthority: boolean;
  readonly pathLength: number | undefined;
  readonly keyUsage: readonly KeyUsage[] | undefined;
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly names: readonly AlternativeName[];
  readonly subjectKeyId: Buffer | undefined;
}

export const extensionOids = {
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
} as const;

const known: ReadonlySet<string> = new Set(Object.values(extensionOids));
const nameTags = { uri: 0x86, dns: 0x82, ip: 0x87 } as const;
const valueBounds = { maxBytes: 8192, maxDepth: 8 };
const maxExtensions = 32;

/** The SEQUENCE of extensions of a certificate. An empty subject makes the names critical (RFC 5280 4.2.1.6). */
export function encodeExtensions(template: ExtensionTemplate, hasSubject: boolean): DerValue {
  const { pathLength, keyUsage, extendedKeyUsage, names } = template;
  const constraints = pathLength === undefined ? sequence() : sequence(boolean(true), integer(Buffer.of(pathLength)));
  const list = [
    extension(extensionOids.basicConstraints, true, constraints),
    extension(extensionOids.keyUsage, true, encodeKeyUsage(keyUsage)),
    extension(extensionOids.subjectKeyId, false, octetString(template.subjectKeyId)),
    extension(extensionOids.authorityKeyId, false, sequence(element(0x80, template.authorityKeyId))),
    encodeNames(names, !hasSubject),
  ];
  if (extendedKeyUsage.length > 0) {
    const oids = extendedKeyUsage.map(usage => oid(extendedKeyUsages[usage]));
    list.push(extension(extensionOids.extendedKeyUsage, false, sequence(...oids)));
  }
  return sequence(...list);
}

/** The extension that holds the subject alternative names. */
export function encodeNames(names: readonly AlternativeName[], critical: boolean): DerValue {
  const values = names.map(({ kind, value }) => {
    if (kind === 'other') throw new MesoliteError('INTERNAL', 'a name of a kind that is never issued');
    return element(nameTags[kind], Buffer.from(value, kind === 'ip' ? 'hex' : 'latin1'));
  });
  return extension(extensionOids.subjectAltName, critical, sequence(...values));
}

function extension(id: string, critical: boolean, value: DerValue): DerValue {
  const content = octetString(encodeDer(value));
  return critical ? sequence(oid(id), boolean(true), content) : sequence(oid(id), content);
}

function encodeKeyUsage(usages: readonly KeyUsage[]): DerValue {
  const bits = usages.reduce((sum, usage) => sum | keyUsageBits[usage], 0);
  // a named bit list ends with its last 1 (X.690 11.2.2): count the zeros below it
  return bitString(Buffer.of(bits), 31 - Math.clz32(bits & -bits));
}

/** Reads a SEQUENCE of extensions; throws INVALID_INPUT for a malformed or repeated one. */
export function readExtensions(list: DerElement | undefined, what: string): Extensions {
  const found = new Map<string, DerElement>();
  const unknownCritical: string[] = [];
  const items = list === undefined ? [] : childrenOf(list, tags.sequence, what);
  if (items.length > maxExtensions) throw new MesoliteError('INVALID_INPUT', `${what}: ${items.length} extensions`);
  for (const item of items) {
    const [id, second, third, ...rest] = childrenOf(item, tags.sequence, what);
    const key = oidOf(id, what);
    const critical = second?.tag === tags.boolean && booleanOf(second, what);
    const value = contentOf(second?.tag === tags.boolean ? third : second, tags.octetString, what);
    if (rest.length > 0 || (third !== undefined && second?.tag !== tags.boolean)) throw malformed(what, key);
    if (found.has(key)) throw new MesoliteError('INVALID_INPUT', `${what}: extension ${key} appears twice`);
    if (critical && !known.has(key)) unknownCritical.push(key);
    found.set(key, known.has(key) ? readDer(value, `${what}: extension ${key}`, valueBounds) : item);
  }
  return { oids: [...found.keys()], unknownCritical, ...interpret(found, what) };
}

function interpret(found: ReadonlyMap<string, DerElement>, what: string): Omit<Extensions, 'oids' | 'unknownCritical'> {
  const keyUsage = found.get(extensionOids.keyUsage);
  const extendedKeyUsage = found.get(extensionOids.extendedKeyUsage);
  const names = found.get(extensionOids.subjectAltName);
  const subjectKeyId = found.get(extensionOids.subjectKeyId);
  return {
    ...readConstraints(found.get(extensionOids.basicConstraints), what),
    keyUsage: keyUsage && readKeyUsage(keyUsage, what),
    extendedKeyUsage: extendedKeyUsage && childrenOf(extendedKeyUsage, tags.sequence, what).map(e => oidOf(e, what)),
    names: names === undefined ? [] : childrenOf(names, tags.sequence, what).map(readName),
    subjectKeyId: subjectKeyId && contentOf(subjectKeyId, tags.octetString, what),
  };
}

function readConstraints(value: DerElement | undefined, what: string): Pick<Extensions, 'isAuthority' | 'pathLength'> {
  if (value === undefined) return { isAuthority: false, pathLength: undefined };
  const [first, second, ...rest] = childrenOf(value, tags.sequence, what);
  if (first === undefined) return { isAuthority: false, pathLength: undefined };
  if (rest.length > 0) throw malformed(what, extensionOids.basicConstraints);
  // a path length means nothing without CA:TRUE (RFC 5280 4.2.1.9), so `first` must be that
  const isAuthority = booleanOf(first, what);
  return { isAuthority, pathLength: second && smallIntegerOf(second, what) };
}

function readKeyUsage(value: DerElement, what: string): KeyUsage[] {
  const content = contentOf(value, tags.bitString, what);
  const bits = content[1] ?? 0;
  if (content.length < 2 || content.length > 3) throw malformed(what, extensionOids.keyUsage);
  const all: readonly KeyUsage[] = ['digitalSignature', 'keyCertSign', 'cRLSign'];
  return all.filter(usage => (bits & keyUsageBits[usage]) !== 0);
}

function readName({ tag, content }: DerElement): AlternativeName {
  if (tag === nameTags.uri) return { kind: 'uri', value: content.toString('latin1') };
  if (tag === nameTags.dns) return { kind: 'dns', value: content.toString('latin1') };
  if (tag === nameTags.ip) return { kind: 'ip', value: content.toString('hex') };
  return { kind: 'other', value: `0x${tag.toString(16)}` };
}

function malformed(what: string, id: string): MesoliteError {
  return new MesoliteError('INVALID_INPUT', `${what}: extension ${id} is malformed`);
}
