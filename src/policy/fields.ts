import type { Unreadable } from '../base/match.ts';
import { nearest } from '../base/nearest.ts';
import type { Condition, Operation, Rule, Source } from '../model/policy.ts';
import { type Attribute, attributes, claimAttribute, textAttribute } from './attributes.ts';
import { presentOrText } from './patterns.ts';

/** One field of a rule: an attribute, what it must match and what it must not. */
export interface Field {
  /** Where it is in the document, as `spec.rules[0].from[1].source.principals`. */
  readonly path: string;
  /** As documents call it where it must match and where it must not: `paths` and `notPaths`, or the key of a condition. */
  readonly name: string;
  readonly notName: string;
  /** Two fields with one key are of the same attribute. */
  readonly key: string;
  readonly attribute: Attribute;
  readonly values: readonly string[];
  readonly notValues: readonly string[];
}

/** A rule as fields: it matches when all of one list of `from`, all of one of `to`, and all of `when` match. */
export interface RuleFields {
  readonly from: readonly (readonly Field[])[];
  readonly to: readonly (readonly Field[])[];
  readonly when: readonly Field[];
  /** The fields of all three. */
  readonly all: readonly Field[];
  readonly unknown: readonly UnknownCondition[];
}

/** A condition whose key is none of ours. */
interface UnknownCondition extends Unreadable {
  readonly path: string;
}

type AttributeName = keyof typeof attributes;

const sourceFields = [
  ['principals', 'notPrincipals', 'source.principal'],
  ['requestPrincipals', 'notRequestPrincipals', 'request.auth.principal'],
  ['namespaces', 'notNamespaces', 'source.namespace'],
  ['serviceAccounts', 'notServiceAccounts', 'source.serviceAccount'],
  ['trustDomains', 'notTrustDomains', 'source.trustDomain'],
  ['ipBlocks', 'notIpBlocks', 'source.ip'],
  ['remoteIpBlocks', 'notRemoteIpBlocks', 'remote.ip'],
] as const satisfies readonly (readonly [keyof Source, keyof Source, AttributeName])[];

const operationFields = [
  ['hosts', 'notHosts', 'host'],
  ['methods', 'notMethods', 'method'],
  ['paths', 'notPaths', 'path'],
  ['ports', 'notPorts', 'destination.port'],
] as const satisfies readonly (readonly [keyof Operation, keyof Operation, AttributeName])[];

/** The keys of `when` that have no name in brackets. */
const conditionKeys = [
  'source.principal',
  'source.namespace',
  'source.serviceAccount',
  'source.trustDomain',
  'source.ip',
  'remote.ip',
  'destination.ip',
  'destination.port',
  'connection.sni',
  'request.auth.principal',
  'request.auth.audiences',
  'request.auth.presenter',
] as const satisfies readonly (keyof typeof attributes)[];

/** Reads a rule; `path` is where it is in the document. Fields without any value restrict nothing and are left out. */
export function readRule(rule: Rule, path: string): RuleFields {
  const from = (rule.from ?? []).map(({ source }, i) => readFields(sourceFields, source, `${path}.from[${i}].source`));
  const to = (rule.to ?? []).map(({ operation }, i) =>
    readFields(operationFields, operation, `${path}.to[${i}].operation`),
  );
  const conditions = (rule.when ?? []).map((when, i) => readCondition(when, `${path}.when[${i}]`));
  const when = conditions.filter(isField);
  return {
    from,
    to,
    when,
    all: [...from, ...to, when].flat(),
    unknown: conditions.filter(condition => 'reason' in condition),
  };
}

function readFields<K extends string>(
  table: readonly (readonly [K, K, AttributeName])[],
  values: Partial<Readonly<Record<K, readonly string[] | undefined>>>,
  path: string,
): Field[] {
  return table.flatMap(([name, notName, key]) => {
    const field: Field = {
      path: `${path}.${values[name] === undefined ? notName : name}`,
      name,
      notName,
      key,
      attribute: attributes[key],
      values: values[name] ?? [],
      notValues: values[notName] ?? [],
    };
    return field.values.length + field.notValues.length > 0 ? [field] : [];
  });
}

function readCondition(when: Condition, path: string): Field | UnknownCondition {
  const attribute = conditionAttribute(when.key);
  if ('reason' in attribute) return { path: `${path}.key`, reason: attribute.reason };
  const { key, values = [], notValues = [] } = when;
  return { path, name: key, notName: `${key} (not)`, key: keyOf(key), attribute, values, notValues };
}

/** Names of headers are the same in capitals. */
function keyOf(key: string): string {
  return key.startsWith('request.headers') ? key.toLowerCase() : key;
}

function isField(condition: Field | UnknownCondition): condition is Field {
  return 'attribute' in condition;
}

const bracketed = /^(request\.headers|request\.auth\.claims)((?:\[[^[\]]+\])+)$/;

function conditionAttribute(key: string): Attribute | Unreadable {
  const fixed = conditionKeys.find(name => name === key);
  if (fixed !== undefined) return attributes[fixed];
  const [, kind, brackets = ''] = bracketed.exec(key) ?? [];
  const names = brackets.slice(1, -1).split('][');
  if (kind === 'request.auth.claims') return claimAttribute(names);
  if (kind === 'request.headers' && names.length === 1) return headerAttribute(names[0] ?? '');
  return { reason: `${JSON.stringify(key)} is not an attribute: ${adviceFor(key)}` };
}

function headerAttribute(name: string): Attribute | Unreadable {
  if (name.startsWith(':'))
    return { reason: `${name} is not a header here: use hosts, methods and paths of to.operation` };
  if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name)) return { reason: `${JSON.stringify(name)} is not the name of a header` };
  const header = name.toLowerCase();
  return textAttribute(facts => facts.request.header?.(header), {
    httpOnly: true,
    header,
    parse: value => presentOrText(value),
  });
}

function adviceFor(key: string): string {
  if (key.startsWith('experimental.envoy.')) return 'there is no Envoy here whose metadata it could read';
  if (key.startsWith('destination.labels')) return 'use spec.selector.matchLabels';
  if (key === 'destination.namespace') return 'use the namespace of the policy';
  if (key.startsWith('request.headers') || key.startsWith('request.auth.claims')) {
    return 'expected request.headers[name] or request.auth.claims[name]';
  }
  const meant = nearest(key, conditionKeys);
  if (meant !== undefined) return `did you mean ${meant}?`;
  return `expected one of ${conditionKeys.join(', ')}, request.headers[name], request.auth.claims[name]`;
}
