import type { TextMatch } from '../base/match.ts';
import type { Verdict } from '../model/policy.ts';
import { type Dimension, dimensionReaders, type Test } from './attributes.ts';
import type { Facts } from './facts.ts';
import { all } from './tests.ts';

/** One thing that a rule asks of a request. */
export interface RulePart {
  readonly test: Test;
  /** For each attribute that it restricts to texts: these; the rule cannot match another value. */
  readonly keys: Partial<Readonly<Record<Dimension, readonly TextMatch[]>>>;
  /** Nothing else is asked than that the attribute is one of these texts: where that is how the rule was found, it is not asked again. */
  readonly isKey: boolean;
}

/** One rule, ready to be indexed: it matches where all parts do. */
export interface CompiledRule {
  readonly parts: readonly RulePart[];
  /** What is decided when it is the first that matches. */
  readonly verdict: Verdict;
}

/** Rules in their order, arranged so that a request meets only those that can match it. */
export interface RuleIndex {
  /** The first rule that matches, in the order of the rules given. */
  find(facts: Facts): Pick<CompiledRule, 'verdict'> | undefined;
}

/** A rule while the index is made. */
interface Ranked extends CompiledRule {
  readonly rank: number;
}

/**
 * What a request meets, as few objects as can be: where many rules take turns, each object is a wait for memory. `rule` is one alone, `rules` are
 * tried one by one, `branch` is what one attribute decides on, by its value, and the rest.
 */
type Node = Rule | Rules | Branch;

interface Rule {
  readonly kind: 'rule';
  readonly rank: number;
  readonly matches: Test;
  readonly verdict: Verdict;
}

interface Rules {
  readonly kind: 'rules';
  readonly rules: readonly Rule[];
}

interface Branch {
  readonly kind: 'branch';
  readonly read: (facts: Facts) => string | undefined;
  readonly buckets: Buckets<Node>;
  readonly rest: Node;
}

/** As many rules as this are tried one by one. */
const leafSize = 4;
/** A rule that would be in more buckets than this stays in the rest: it tests its values by a set. */
const maxKeysPerRule = 64;
/** How many places in buckets all rules together may take, beside one for each of the rules: past it the rest is scanned. */
const placesPerRule = 16;

export function makeRuleIndex(rules: readonly CompiledRule[]): RuleIndex {
  const ranked = rules.map((rule, rank) => ({ ...rule, rank }));
  const root = build(ranked, ['principal', 'account', 'namespace', 'path', 'host'], {
    left: placesPerRule * rules.length,
  });
  return { find: facts => findIn(root, facts, undefined) };
}

function findIn(node: Node, facts: Facts, best: Rule | undefined): Rule | undefined {
  if (node.kind === 'rule') return (best === undefined || node.rank < best.rank) && node.matches(facts) ? node : best;
  if (node.kind === 'rules') {
    for (const rule of node.rules) {
      if (best !== undefined && rule.rank > best.rank) return best;
      if (rule.matches(facts)) return rule;
    }
    return best;
  }
  const found = findIn(node.rest, facts, best);
  const value = node.read(facts);
  return value === undefined ? found : findInBuckets(node.buckets, value, facts, found);
}

function build(rules: readonly Ranked[], dimensions: readonly Dimension[], places: { left: number }): Node {
  const dimension = rules.length > leafSize ? bestDimension(rules, dimensions) : undefined;
  if (dimension === undefined) return leafOf(rules);
  const keyed = rules.filter(rule => isKeyed(rule, dimension));
  places.left -= keyed.reduce((sum, rule) => sum + (keysOf(rule, dimension)?.length ?? 0), 0);
  if (places.left < 0) return leafOf(rules);
  const others = dimensions.filter(other => other !== dimension);
  const found = new Map(keyed.map(rule => [rule, withoutKey(rule, dimension)]));
  return {
    kind: 'branch',
    read: dimensionReaders[dimension],
    buckets: makeBuckets(
      keyed,
      rule => keysOf(rule, dimension) ?? [],
      bucket =>
        build(
          bucket.map(rule => found.get(rule) ?? rule),
          others,
          places,
        ),
    ),
    rest: build(
      rules.filter(rule => !isKeyed(rule, dimension)),
      others,
      places,
    ),
  };
}

function leafOf(ranked: readonly Ranked[]): Node {
  const rules = ranked.map(
    ({ rank, parts, verdict }): Rule => ({ kind: 'rule', rank, matches: all(parts.map(({ test }) => test)), verdict }),
  );
  const [only] = rules;
  return only !== undefined && rules.length === 1 ? only : { kind: 'rules', rules };
}

function keyPart({ parts }: CompiledRule, dimension: Dimension): RulePart | undefined {
  return parts.find(({ keys }) => keys[dimension] !== undefined);
}

function keysOf(rule: CompiledRule, dimension: Dimension): readonly TextMatch[] | undefined {
  return keyPart(rule, dimension)?.keys[dimension];
}

/** The rule as it is to be asked where this attribute has led to it. */
function withoutKey(rule: Ranked, dimension: Dimension): Ranked {
  const key = keyPart(rule, dimension);
  return key?.isKey === true ? { ...rule, parts: rule.parts.filter(part => part !== key) } : rule;
}

/** The attribute that tells most rules apart; undefined when none does. */
function bestDimension(rules: readonly Ranked[], dimensions: readonly Dimension[]): Dimension | undefined {
  let best: Dimension | undefined;
  let most = 1;
  for (const dimension of dimensions) {
    const values = new Set<string>();
    for (const rule of rules) {
      if (isKeyed(rule, dimension))
        for (const { kind, text } of keysOf(rule, dimension) ?? []) values.add(`${kind} ${text}`);
    }
    if (values.size > most) {
      best = dimension;
      most = values.size;
    }
  }
  return best;
}

function isKeyed(rule: Ranked, dimension: Dimension): boolean {
  const keys = keysOf(rule, dimension);
  return keys !== undefined && keys.length <= maxKeysPerRule;
}

/** Values by exact text, and by the prefixes and suffixes of each length that occurs. */
interface Buckets<T> {
  readonly exact: ReadonlyMap<string, T>;
  readonly prefixes: readonly OfLength<T>[];
  readonly suffixes: readonly OfLength<T>[];
}

/** Prefixes or suffixes of one length. */
interface OfLength<T> {
  readonly length: number;
  /**
   * The characters at their inner end, as bits of their codes modulo 32: most prefixes of paths end with a slash, so that a path is cut and
   * looked up at its slashes alone.
   */
  readonly edges: number;
  readonly buckets: ReadonlyMap<string, T>;
}

function findInBuckets(buckets: Buckets<Node>, value: string, facts: Facts, best: Rule | undefined): Rule | undefined {
  const exact = buckets.exact.get(value);
  let found = exact === undefined ? best : findIn(exact, facts, best);
  for (const { length, edges, buckets: byText } of buckets.prefixes) {
    if (length > value.length) break;
    if ((edges & bitOf(value, length - 1)) === 0) continue;
    const node = byText.get(value.slice(0, length));
    if (node !== undefined) found = findIn(node, facts, found);
  }
  for (const { length, edges, buckets: byText } of buckets.suffixes) {
    if (length > value.length) break;
    if ((edges & bitOf(value, value.length - length)) === 0) continue;
    const node = byText.get(value.slice(value.length - length));
    if (node !== undefined) found = findIn(node, facts, found);
  }
  return found;
}

function makeBuckets<R, T>(
  rules: readonly R[],
  keysOf: (rule: R) => readonly TextMatch[],
  build: (bucket: readonly R[]) => T,
): Buckets<T> {
  const exact = new Map<string, R[]>();
  const prefixes = new Map<number, Map<string, R[]>>();
  const suffixes = new Map<number, Map<string, R[]>>();
  for (const rule of rules) {
    for (const { kind, text } of keysOf(rule)) {
      if (kind === 'exact') put(exact, text, rule);
      else if (kind === 'suffix') put(ofLength(suffixes, text.length), text, rule);
      else put(ofLength(prefixes, text.length), text, rule);
    }
  }
  const finish = (found: ReadonlyMap<string, R[]>) =>
    new Map([...found].map(([text, bucket]) => [text, build(bucket)]));
  const byLength = (found: ReadonlyMap<number, Map<string, R[]>>, edgeOf: (length: number) => number) =>
    [...found]
      .sort(([a], [b]) => a - b)
      .map(([length, texts]) => {
        const edges = [...texts.keys()].reduce((bits, text) => bits | bitOf(text, edgeOf(length)), 0);
        return { length, edges, buckets: finish(texts) };
      });
  return {
    exact: finish(exact),
    prefixes: byLength(prefixes, length => length - 1),
    suffixes: byLength(suffixes, () => 0),
  };
}

/** The same for an empty text as for what is outside of one, so that the prefix of length 0 is always looked up. */
function bitOf(text: string, at: number): number {
  return 1 << (text.charCodeAt(at) & 31);
}

function put<R>(buckets: Map<string, R[]>, text: string, rule: R): void {
  const bucket = buckets.get(text);
  if (bucket === undefined) buckets.set(text, [rule]);
  else if (bucket.at(-1) !== rule) bucket.push(rule);
}

function ofLength<R>(buckets: Map<number, Map<string, R[]>>, length: number): Map<string, R[]> {
  const found = buckets.get(length) ?? new Map<string, R[]>();
  buckets.set(length, found);
  return found;
}
