import * as v from 'valibot';
import { decode } from '../base/shape.ts';
import { documentSchemas } from '../model/document.ts';
import { nameSchema } from '../model/ids.ts';
import { usageError } from './exit-codes.ts';

export interface DocumentRef {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** Only what names a document: one that this version would refuse can still be removed. */
const headSchema = v.looseObject({
  kind: v.string(),
  metadata: v.looseObject({ name: nameSchema, namespace: v.optional(nameSchema, 'default') }),
});

/** Which document is it? Throws INVALID_INPUT with the path. */
export function readDocumentRef(value: unknown, what: string): DocumentRef {
  const { kind, metadata } = decode(headSchema, value, what);
  return { kind, namespace: metadata.namespace, name: metadata.name };
}

/** The kind that a user means by `job`, `jobs`, `AuthorizationPolicy` or `policy`; a usage error when there is none. */
export function parseKind(text: string): string {
  const kinds = Object.keys(documentSchemas);
  const word = text.toLowerCase();
  const exact = kinds.find(kind => [kind, `${kind}s`, plural(kind)].some(each => each.toLowerCase() === word));
  if (exact !== undefined) return exact;
  if (word === 'policy' || word === 'policies') return 'AuthorizationPolicy';
  throw usageError(`${text} is not a kind: expected one of ${kinds.join(', ')}`);
}

function plural(kind: string): string {
  return kind.replace(/y$/, 'ies');
}

export function printRef({ kind, namespace, name }: DocumentRef): string {
  return `${kind} ${namespace}/${name}`;
}
