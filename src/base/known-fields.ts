import type * as v from 'valibot';

/** The names of the fields that a schema knows where `path` leads; none where it leads to no object. */
export function fieldsAt(schema: v.GenericSchema, path: readonly unknown[]): readonly string[] {
  return namesAt(schema, path, part => !isRefused(part));
}

/** With those that are known so that they can be refused (`unsupported`). */
export function namesAt(
  schema: v.GenericSchema,
  path: readonly unknown[],
  isMeant: (part: Part) => boolean = () => true,
): readonly string[] {
  const found = path.reduce<readonly Part[]>((parts, key) => parts.flatMap(part => below(part, key)), unwrap(schema));
  const names = found.flatMap(({ entries = {} }) => Object.entries(entries).filter(([, part]) => isMeant(part)));
  return [...new Set(names.map(([name]) => name))];
}

/** The value without the fields that the schema does not know, at any depth; nothing of it is checked. */
export function keepKnown(schema: v.GenericSchema, value: unknown, path: readonly unknown[] = []): unknown {
  if (Array.isArray(value)) return value.map((item, i) => keepKnown(schema, item, [...path, i]));
  if (typeof value !== 'object' || value === null) return value;
  const names = namesAt(schema, path);
  // a record has none of its own
  const known = Object.entries(value).filter(([name]) => names.length === 0 || names.includes(name));
  return Object.fromEntries(known.map(([name, inner]) => [name, keepKnown(schema, inner, [...path, name])]));
}

/** What of valibot's schemas leads further: each kind has some of these. */
interface Part {
  readonly type?: string;
  readonly pipe?: readonly Part[];
  readonly wrapped?: Part;
  readonly item?: Part;
  readonly value?: Part;
  readonly entries?: Readonly<Record<string, Part>>;
  readonly options?: readonly unknown[];
}

function below(part: Part, key: unknown): readonly Part[] {
  const { item, value, entries } = part;
  const next = typeof key === 'number' ? item : entries === undefined ? value : entries[String(key)];
  return next === undefined ? [] : unwrap(next);
}

/** An object, array or record itself, whatever is around it; of a choice all of its options. */
function unwrap(part: Part): readonly Part[] {
  const [inner] = part.pipe ?? [];
  if (inner !== undefined && inner !== part) return unwrap(inner);
  if (part.wrapped !== undefined) return unwrap(part.wrapped);
  if (part.options !== undefined && part.entries === undefined) return part.options.filter(isPart).flatMap(unwrap);
  return [part];
}

function isRefused(part: Part): boolean {
  return part.wrapped?.type === 'never';
}

function isPart(option: unknown): option is Part {
  return typeof option === 'object' && option !== null;
}
