import type { TextMatch } from '../base/match.ts';
import type { Verdict } from '../model/policy.ts';
import type { Dimension, Scope, Test } from './attributes.ts';
import type { Field, RuleFields } from './fields.ts';
import type { CompiledRule, RulePart } from './rule-index.ts';
import { all, any } from './tests.ts';

/** A policy that is being compiled: fields that say the same become one test, which the memory of a processor then has at hand. */
export interface RuleScope extends Scope {
  readonly known: Map<string, RulePart>;
}

/**
 * Compiles a rule whose fields have no errors. Under TCP a field that only HTTP has makes an ALLOW rule vanish (undefined) and is
 * left out of a DENY rule, which so denies more (istio/istio pilot/pkg/security/authz/model/model.go, checkError).
 */
export function compileRule(
  rule: RuleFields,
  protocol: 'http' | 'tcp',
  verdict: Verdict,
  scope: RuleScope,
): CompiledRule | undefined {
  const fits = (field: Field) => protocol === 'http' || !field.attribute.httpOnly;
  if (verdict.allow && !rule.all.every(fits)) return undefined;
  const part = (field: Field) => partOf(field, scope);
  const sides = [rule.from, rule.to].map(side => side.map(fields => fields.filter(fits).map(part)));
  return { parts: [...sides.flatMap(oneOf), ...rule.when.filter(fits).map(part)], verdict };
}

/** A list of alternatives: none restricts nothing, one is as good as its fields, of several one must hold. */
function oneOf(alternatives: readonly (readonly RulePart[])[]): readonly RulePart[] {
  const [only] = alternatives;
  if (only === undefined || alternatives.length === 1) return only ?? [];
  const tests = alternatives.map(parts => all(parts.map(({ test }) => test)));
  return [{ test: any(tests), keys: keysOf(alternatives), isKey: false }];
}

function partOf(field: Field, scope: RuleScope): RulePart {
  const said = JSON.stringify([field.key, field.values, field.notValues]);
  const known = scope.known.get(said) ?? compileField(field, scope);
  scope.known.set(said, known);
  return known;
}

function compileField({ attribute, values, notValues }: Field, scope: Scope): RulePart {
  const tests: Test[] = [];
  if (values.length > 0) tests.push(attribute.compile(values, scope));
  if (notValues.length > 0) {
    const excluded = attribute.compile(notValues, scope);
    tests.push(facts => !excluded(facts));
  }
  const { dimension } = attribute;
  const patterns = values.length > 0 && dimension !== undefined ? attribute.patterns(values, scope) : undefined;
  const isKey = notValues.length === 0 && patterns?.every(({ kind }) => kind !== 'present') === true;
  return { test: all(tests), keys: patterns === undefined ? {} : { [dimension ?? '']: patterns }, isKey };
}

const dimensions: readonly Dimension[] = ['principal', 'account', 'namespace', 'path', 'host'];

/** What every alternative names. */
function keysOf(alternatives: readonly (readonly RulePart[])[]): RulePart['keys'] {
  const keys: Partial<Record<Dimension, readonly TextMatch[]>> = {};
  for (const dimension of dimensions) {
    const patterns = alternatives.map(
      parts => parts.find(({ keys }) => keys[dimension] !== undefined)?.keys[dimension],
    );
    if (patterns.every(isKnown)) keys[dimension] = patterns.flat();
  }
  return keys;
}

function isKnown(patterns: readonly TextMatch[] | undefined): patterns is readonly TextMatch[] {
  return patterns !== undefined;
}
