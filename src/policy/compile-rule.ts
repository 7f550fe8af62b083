import type { TextMatch } from '../base/match.ts';
import type { Verdict } from '../model/policy.ts';
import type { Dimension, Scope, Test } from './attributes.ts';
import type { Field, RuleFields } from './fields.ts';
import type { CompiledRule } from './rule-index.ts';

/**
 * Compiles a rule whose fields have no errors. Under TCP a field that only HTTP has makes an ALLOW rule vanish (undefined) and is
 * left out of a DENY rule, which so denies more (istio/istio pilot/pkg/security/authz/model/model.go, checkError).
 */
export function compileRule(
  rule: RuleFields,
  protocol: 'http' | 'tcp',
  verdict: Verdict,
  scope: Scope,
): CompiledRule | undefined {
  const fits = (field: Field) => protocol === 'http' || !field.attribute.httpOnly;
  if (verdict.allow && !rule.all.every(fits)) return undefined;
  const when = rule.when.filter(fits);
  const from = alternativesOf(rule.from.map(fields => fields.filter(fits)));
  const to = alternativesOf(rule.to.map(fields => fields.filter(fits)));
  return {
    matches: all([anyOf(from, scope), anyOf(to, scope), ...when.map(field => compileField(field, scope))]),
    verdict,
    keys: keysOf([from.map(fields => [...fields, ...when]), to.map(fields => [...fields, ...when])], scope),
  };
}

/** No list of alternatives is one alternative that restricts nothing. */
function alternativesOf(alternatives: readonly (readonly Field[])[]): readonly (readonly Field[])[] {
  return alternatives.length === 0 ? [[]] : alternatives;
}

function anyOf(alternatives: readonly (readonly Field[])[], scope: Scope): Test {
  const tests = alternatives.map(fields => all(fields.map(field => compileField(field, scope))));
  const [only] = tests;
  return tests.length === 1 && only !== undefined ? only : facts => tests.some(test => test(facts));
}

function compileField(field: Field, scope: Scope): Test {
  const { attribute, values, notValues } = field;
  const tests: Test[] = [];
  if (values.length > 0) tests.push(attribute.compile(values, scope));
  if (notValues.length > 0) {
    const excluded = attribute.compile(notValues, scope);
    tests.push(facts => !excluded(facts));
  }
  return all(tests);
}

function all(tests: readonly Test[]): Test {
  const needed = tests.filter(test => test !== always);
  const [only] = needed;
  if (only === undefined) return always;
  return needed.length === 1 ? only : facts => needed.every(test => test(facts));
}

const always: Test = () => true;

const dimensions: readonly Dimension[] = ['principal', 'account', 'namespace', 'path', 'host'];

/** What the index may find the rule by: of one side (`from` or `to`), every alternative names the attribute. */
function keysOf(sides: readonly (readonly (readonly Field[])[])[], scope: Scope): CompiledRule['keys'] {
  const keys: Partial<Record<Dimension, readonly TextMatch[]>> = {};
  for (const dimension of dimensions) {
    for (const alternatives of sides) {
      const patterns = alternatives.map(fields => patternsOf(fields, dimension, scope));
      if (patterns.every(isKnown)) keys[dimension] = patterns.flat();
    }
  }
  return keys;
}

function patternsOf(fields: readonly Field[], dimension: Dimension, scope: Scope): readonly TextMatch[] | undefined {
  const field = fields.find(({ attribute, values }) => attribute.dimension === dimension && values.length > 0);
  return field?.attribute.patterns(field.values, scope);
}

function isKnown(patterns: readonly TextMatch[] | undefined): patterns is readonly TextMatch[] {
  return patterns !== undefined;
}
