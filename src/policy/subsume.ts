import type { Scope } from './attributes.ts';
import type { Field, RuleFields } from './fields.ts';
import { excludes, includes, isMultiple, type ValueSet, valueSetOf } from './pattern-sets.ts';

/** A rule, and where it stands. */
export interface PlacedRule {
  readonly rule: RuleFields;
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT';
  readonly scope: Scope;
}

/** More pairs of alternatives than this are not compared. */
const maxPairs = 1024;

/**
 * Does `wide` match every request that `narrow` matches, over HTTP and over TCP? True only where that is certain; many a rule that covers
 * another is not seen to.
 */
export function covers(wide: PlacedRule, narrow: PlacedRule): boolean {
  return coversIn('http', wide, narrow) && coversIn('tcp', wide, narrow);
}

function coversIn(protocol: 'http' | 'tcp', wide: PlacedRule, narrow: PlacedRule): boolean {
  const inside = partsOf(narrow, protocol);
  if (inside === undefined) return true;
  const outside = partsOf(wide, protocol);
  if (outside === undefined || inside.from.length * inside.to.length > maxPairs) return false;
  for (const from of inside.from) {
    for (const to of inside.to) {
      const known = [...from, ...to, ...inside.when];
      const holds = (condition: Condition) => isImplied(condition, known);
      const isCovered =
        outside.from.some(fields => fields.every(holds)) &&
        outside.to.some(fields => fields.every(holds)) &&
        outside.when.every(holds);
      if (!isCovered) return false;
    }
  }
  return true;
}

/** A field with its values read. */
interface Condition {
  readonly field: Field;
  readonly values: readonly ValueSet[];
  readonly notValues: readonly ValueSet[];
}

interface Parts {
  readonly from: readonly (readonly Condition[])[];
  readonly to: readonly (readonly Condition[])[];
  readonly when: readonly Condition[];
}

/** As `compileRule` takes a rule: undefined for one that never matches over this protocol. */
function partsOf({ rule, action, scope }: PlacedRule, protocol: 'http' | 'tcp'): Parts | undefined {
  const fits = ({ attribute }: Field) => protocol === 'http' || !attribute.httpOnly;
  if (action === 'ALLOW' && !rule.all.every(fits)) return undefined;
  const read = (fields: readonly Field[]) => fields.filter(fits).map(field => conditionOf(field, scope));
  const either = (alternatives: readonly (readonly Field[])[]) =>
    alternatives.length === 0 ? [[]] : alternatives.map(read);
  return { from: either(rule.from), to: either(rule.to), when: read(rule.when) };
}

function conditionOf(field: Field, scope: Scope): Condition {
  const setsOf = (values: readonly string[]) => values.map(value => valueSetOf(field, value, scope));
  return { field, values: setsOf(field.values), notValues: setsOf(field.notValues) };
}

/** Does a condition hold wherever the known ones do? */
function isImplied({ field, values, notValues }: Condition, known: readonly Condition[]): boolean {
  const same = known.filter(each => each.field.key === field.key);
  const isWithin = ({ values: narrow }: Condition) =>
    narrow.length > 0 && narrow.every(set => values.some(wide => includes(wide, set)));
  if (values.length > 0 && !same.some(isWithin)) return false;
  return notValues.every(forbidden => same.some(each => keepsOut(each, forbidden)));
}

/** Where the condition holds, is the forbidden value not there? */
function keepsOut({ field, values, notValues }: Condition, forbidden: ValueSet): boolean {
  if (notValues.some(set => includes(set, forbidden))) return true;
  // of several values one may match this and another that
  return !isMultiple(field) && values.length > 0 && values.every(set => excludes(set, forbidden));
}
