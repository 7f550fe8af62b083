import type { Scope, Test } from './attributes.ts';
import type { Facts } from './facts.ts';
import type { Field, RuleFields } from './fields.ts';

/** `unknown`: it hangs on an attribute of which nothing is known. */
export type Answer = 'yes' | 'no' | 'unknown';

/** Does a rule match, and if not so, because of what? */
export interface Examination {
  readonly answer: Answer;
  /** For each alternative of the first part that does not hold its first condition that does not, in words; of the unknown ones else. */
  readonly reasons: readonly string[];
}

/** Says of a rule why it does not match. `isUnknown` tells which attributes nothing is known of. */
export type Examiner = (facts: Facts, isUnknown: (field: Field) => boolean) => Examination;

/** Where a rule stands. */
export interface RulePlace {
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT';
  readonly protocol: 'http' | 'tcp';
  readonly scope: Scope;
}

/**
 * A rule to be looked at field by field, where `compileRule` only tells whether it matches: made of the same tests, so that both say the
 * same.
 */
export function makeExaminer(rule: RuleFields, { action, protocol, scope }: RulePlace): Examiner {
  const missing = protocol === 'http' ? [] : rule.all.filter(({ attribute }) => attribute.httpOnly);
  const [first] = missing;
  if (action === 'ALLOW' && first !== undefined) {
    const reason = `${nameOf(first)}: a TCP connection has none, and without it an ALLOW rule never matches`;
    return () => ({ answer: 'no', reasons: [reason] });
  }
  const conditionsOf = (fields: readonly Field[]) =>
    fields.filter(field => !missing.includes(field)).flatMap(field => makeConditions(field, scope));
  const parts = [
    { name: 'from', alternatives: rule.from.map(conditionsOf) },
    { name: 'to', alternatives: rule.to.map(conditionsOf) },
    { name: '', alternatives: [conditionsOf(rule.when)] },
  ];
  return (facts, isUnknown) => {
    let unknown: Examination = yes;
    for (const { name, alternatives } of parts) {
      const found = anyOf(name, alternatives, facts, isUnknown);
      if (found.answer === 'no') return found;
      if (unknown.answer === 'yes') unknown = found;
    }
    return unknown;
  };
}

/** The values, or the excluded values, of one field. */
interface Condition {
  readonly field: Field;
  readonly holds: Test;
  readonly whyNot: (shown: string | undefined) => string;
}

const yes: Examination = { answer: 'yes', reasons: [] };

function makeConditions(field: Field, scope: Scope): Condition[] {
  const { attribute, values, notValues } = field;
  const conditions: Condition[] = [];
  if (values.length > 0) {
    const whyNot = (shown: string | undefined) =>
      shown === undefined ? `${field.name}: ${absence(field)}` : `${field.name}: ${mismatch(values, shown)}`;
    conditions.push({ field, holds: attribute.compile(values, scope), whyNot });
  }
  if (notValues.length > 0) {
    const excluded = attribute.compile(notValues, scope);
    const whyNot = (shown = '') => `${field.notName}: ${listed(notValues)} matches ${shown}`;
    conditions.push({ field, holds: facts => !excluded(facts), whyNot });
  }
  return conditions;
}

function anyOf(
  part: string,
  alternatives: readonly (readonly Condition[])[],
  facts: Facts,
  isUnknown: (field: Field) => boolean,
): Examination {
  if (alternatives.length === 0) return yes;
  const found = alternatives.map(conditions => allOf(conditions, facts, isUnknown));
  if (found.some(({ answer }) => answer === 'yes')) return yes;
  const answer = found.some(each => each.answer === 'unknown') ? 'unknown' : 'no';
  const reasons = found.flatMap((each, i) =>
    each.answer === answer ? each.reasons.map(reason => (found.length > 1 ? `${part}[${i}] ${reason}` : reason)) : [],
  );
  return { answer, reasons };
}

function allOf(conditions: readonly Condition[], facts: Facts, isUnknown: (field: Field) => boolean): Examination {
  const known = conditions.filter(({ field }) => !isUnknown(field));
  const failing = known.find(({ holds }) => !holds(facts));
  if (failing !== undefined) {
    return { answer: 'no', reasons: [failing.whyNot(failing.field.attribute.show(facts))] };
  }
  const [open] = conditions.filter(({ field }) => isUnknown(field));
  return open === undefined ? yes : { answer: 'unknown', reasons: [`${nameOf(open.field)}: not known`] };
}

function nameOf({ values, name, notName }: Field): string {
  return values.length > 0 ? name : notName;
}

function mismatch(values: readonly string[], shown: string): string {
  return `${listed(values)} ${values.length === 1 ? 'does' : 'do'} not match ${shown === '' ? 'an empty text' : shown}`;
}

function absence({ attribute, key }: Field): string {
  if (attribute.ofPeer === true) return 'the caller has no certificate';
  if (attribute.reading === 'claims') return 'no verified token says it';
  return attribute.header === undefined ? `${key} is not there` : 'the request has no such header';
}

const maxListed = 4;

function listed(values: readonly string[]): string {
  const rest = values.length > maxListed ? ` and ${values.length - maxListed} more` : '';
  return `${values.slice(0, maxListed).join(', ')}${rest}`;
}
