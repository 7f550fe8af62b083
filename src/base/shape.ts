import { Buffer } from 'node:buffer';
import * as v from 'valibot';
import { MesoliteError } from './errors.ts';
import { fieldsAt, namesAt } from './known-fields.ts';
import { nearest } from './nearest.ts';

/** Bounds that hold before a schema looks at a value. */
export interface Bounds {
  readonly maxBytes: number;
  /** How deep objects and arrays may nest. */
  readonly maxDepth: number;
  /** No error says what came, where the schema's messages do not. */
  readonly isSecret?: true;
}

export const defaultBounds: Bounds = { maxBytes: 256 * 1024, maxDepth: 32 };

/** Checks `input` against `schema`; throws INVALID_INPUT naming every path, as `spec.rules[2].to[0]: expected …`. */
export function decode<S extends v.GenericSchema>(
  schema: S,
  input: unknown,
  what: string,
  { isSecret }: Pick<Bounds, 'isSecret'> = {},
): v.InferOutput<S> {
  checkNesting(input, defaultBounds.maxDepth, what);
  return decodeChecked(schema, input, what, isSecret);
}

function decodeChecked<S extends v.GenericSchema>(
  schema: S,
  input: unknown,
  what: string,
  isSecret?: true,
): v.InferOutput<S> {
  const result = v.safeParse(schema, input);
  if (result.success) return result.output;
  const [first, ...more] = result.issues.flatMap(issue => [
    ...unknownFields(issue, schema),
    ...(isUnknownField(issue) ? [] : [`${describeIssue(issue)}${isSecret ? '' : whatCame(issue)}`]),
  ]);
  const rest = more.length === 0 ? '' : ` (and ${more.length} more: ${more.slice(0, 4).join('; ')})`;
  throw new MesoliteError('INVALID_INPUT', `${what}: ${first}${rest}`);
}

/** Parses JSON text of bounded size and depth, then decodes it; throws TOO_LARGE or INVALID_INPUT. */
export function decodeJson<S extends v.GenericSchema>(
  schema: S,
  text: string | Uint8Array,
  what: string,
  bounds: Bounds = defaultBounds,
): v.InferOutput<S> {
  if (text.length > bounds.maxBytes) {
    throw new MesoliteError('TOO_LARGE', `${what}: ${text.length} bytes, at most ${bounds.maxBytes} are taken`);
  }
  let value: unknown;
  try {
    value = JSON.parse(typeof text === 'string' ? text : asBuffer(text).toString('utf8'));
  } catch (cause) {
    throw new MesoliteError('INVALID_INPUT', `${what}: not JSON`, { cause });
  }
  checkNesting(value, Math.min(bounds.maxDepth, defaultBounds.maxDepth), what);
  return decodeChecked(schema, value, what, bounds.isSecret);
}

/** A field that others have and this program does not; `advice` is the nearest thing that works. */
export function unsupported(advice: string) {
  return v.optional(v.never(`not supported: ${advice}`));
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** valibot leaves these names out of a record without a word, and nothing that is sent may be ignored. */
const forbiddenNames: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

function checkNesting(value: unknown, maxDepth: number, what: string): void {
  const problem = nestingProblem(value, maxDepth);
  if (problem === undefined) return;
  if (problem === tooDeep) throw new MesoliteError('TOO_LARGE', `${what}: nested deeper than ${maxDepth} levels`);
  throw new MesoliteError('INVALID_INPUT', `${what}: no field may be called ${problem}`);
}

/** No name is empty where something is wrong with it. */
const tooDeep = '';

/** The path of a forbidden name, or `tooDeep`. Every message is walked through at its door, so that nothing is made on the way. */
function nestingProblem(value: unknown, levels: number): string | undefined {
  if (!isObject(value)) return undefined;
  if (levels === 0) return tooDeep;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const below = nestingProblem(value[i], levels - 1);
      if (below !== undefined) return below === tooDeep ? tooDeep : `${i}.${below}`;
    }
    return undefined;
  }
  for (const name in value) {
    if (forbiddenNames.has(name)) return name;
    const below = nestingProblem(value[name], levels - 1);
    if (below !== undefined) return below === tooDeep ? tooDeep : `${name}.${below}`;
  }
  return undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function describeIssue(issue: v.BaseIssue<unknown>): string {
  const place = placeOf(keysOf(issue));
  // valibot speaks of the quoted key for a missing one
  if (issue.type === 'strict_object' && issue.received === 'undefined') return `${place}required, but missing`;
  return `${place}${lowerFirst(shorten(issue.message))}`;
}

function keysOf({ path = [] }: { readonly path?: readonly v.IssuePathItem[] | undefined }): unknown[] {
  return path.map(({ key }) => key);
}

function placeOf(keys: readonly unknown[]): string {
  const path = keys.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`;
    return text === '' ? String(key) : `${text}.${String(key)}`;
  }, '');
  return path === '' ? '' : `${path}: `;
}

/** valibot speaks of `never` for an unknown key. */
function isUnknownField({ type, expected }: v.BaseIssue<unknown>): boolean {
  return type === 'strict_object' && expected === 'never';
}

/** All fields that the object does not know, where valibot names the first one. */
function unknownFields(issue: v.BaseIssue<unknown>, schema: v.GenericSchema): string[] {
  const last = issue.path?.at(-1);
  if (!isUnknownField(issue) || last?.type !== 'object') return [];
  const above = keysOf(issue).slice(0, -1);
  const names = new Set(namesAt(schema, above));
  // none is known where it is not said which of several objects was meant
  const others = Object.keys(last.input).filter(key => names.size > 0 && key !== last.key && !names.has(key));
  return [String(last.key), ...others.slice(0, maxUnknownTold)].map(
    key => `${placeOf([...above, key])}unknown field${adviceOn(key, fieldsAt(schema, above))}`,
  );
}

/** What was probably meant by a field that is not known, or else which there are. */
function adviceOn(written: string, known: readonly string[]): string {
  const meant = nearest(written, known);
  if (meant !== undefined) return `: did you mean ${meant}?`;
  if (known.length === 0) return '';
  const more = known.length > maxFieldsNamed ? ', …' : '';
  return `: expected ${known.slice(0, maxFieldsNamed).join(', ')}${more}`;
}

const maxUnknownTold = 8;
const maxFieldsNamed = 16;

/** For messages that tell what was expected alone. */
function whatCame({ type, message, input }: v.BaseIssue<unknown>): string {
  if (type === 'strict_object' || !/^expected/i.test(message) || /\b(got|received)\b/.test(message)) return '';
  if (typeof input === 'object' || typeof input === 'function') return '';
  const text = input === undefined ? 'nothing' : (JSON.stringify(input) ?? String(input));
  return `, got ${text.length > 80 ? `${text.slice(0, 80)}…` : text}`;
}

/** A message repeats what came, which may be as large as the bounds let it be. */
function shorten(text: string): string {
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

/** A sentence starts in lower case, a name in capitals stays. */
function lowerFirst(text: string): string {
  return /^[A-Z][a-z]/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text;
}
