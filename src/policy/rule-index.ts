import type { TextMatch } from '../base/match.ts';
import type { Verdict } from '../model/policy.ts';
import { type Dimension, dimensionReaders, type Test } from './attributes.ts';
import type { Facts } from './facts.ts';

/** One rule, ready to be asked. */
export interface CompiledRule {
  readonly matches: Test;
  /** What is decided when it is the first that matches. */
  readonly verdict: Verdict;
  /** For each attribute that every alternative of the rule restricts to texts: these; the rule cannot match another value. */
  readonly keys: Partial<Readonly<Record<Dimension, readonly TextMatch[]>>>;
}

/** Rules in their order, arranged so that a request meets only those that can match it. */
export interface RuleIndex {
  /** The first rule that matches, in the order of the rules given. */
  find(facts: Facts): CompiledRule | undefined;
}

interface Ranked extends CompiledRule {
  readonly rank: number;
}

type Node = Leaf | Branch;

interface Leaf {
  readonly rules: readonly Ranked[];
}

/** Rules that one attribute decides on, by its value, and the rest. */
interface Branch {
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

function findIn(node: Node, facts: Facts, best: Ranked | undefined): Ranked | undefined {
  if ('rules' in node) {
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
  if (dimension === undefined) return { rules };
  const keyed = rules.filter(rule => isKeyed(rule, dimension));
  places.left -= keyed.reduce((sum, rule) => sum + (rule.keys[dimension]?.length ?? 0), 0);
  if (places.left < 0) return { rules };
  const others = dimensions.filter(other => other !== dimension);
  return {
    read: dimensionReaders[dimension],
    buckets: makeBuckets(
      keyed,
      rule => rule.keys[dimension] ?? [],
      bucket => build(bucket, others, places),
    ),
    rest: build(
      rules.filter(rule => !isKeyed(rule, dimension)),
      others,
      places,
    ),
  };
}

/** The attribute that tells most rules apart; undefined when none does. */
function bestDimension(rules: readonly Ranked[], dimensions: readonly Dimension[]): Dimension | undefined {
  let best: Dimension | undefined;
  let most = 1;
  for (const dimension of dimensions) {
    const values = new Set<string>();
    for (const rule of rules) {
      if (isKeyed(rule, dimension))
        for (const { kind, text } of rule.keys[dimension] ?? []) values.add(`${kind} ${text}`);
    }
    if (values.size > most) {
      best = dimension;
      most = values.size;
    }
  }
  return best;
}

function isKeyed(rule: Ranked, dimension: Dimension): boolean {
  const keys = rule.keys[dimension];
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

function findInBuckets(
  buckets: Buckets<Node>,
  value: string,
  facts: Facts,
  best: Ranked | undefined,
): Ranked | undefined {
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
