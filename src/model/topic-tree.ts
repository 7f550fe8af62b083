interface Level<T> {
  readonly below: Map<string, Level<T>>;
  readonly values: Set<T>;
}

/** What is registered under MQTT topic filters, found by topic: `+` is one level, `#` all the rest (MQTT 3.1.1, 4.7). */
export class TopicTree<T> {
  readonly #root: Level<T> = { below: new Map(), values: new Set() };

  /** Registers `value` under `filter`; the same pair counts once. */
  add(filter: string, value: T): void {
    let level = this.#root;
    for (const name of filter.split('/')) {
      let next = level.below.get(name);
      if (next === undefined) {
        next = { below: new Map(), values: new Set() };
        level.below.set(name, next);
      }
      level = next;
    }
    level.values.add(value);
  }

  /** Takes the pair away, and the levels that only it needed. */
  remove(filter: string, value: T): void {
    prune(this.#root, filter.split('/'), 0, value);
  }

  /** The values whose filter matches `topic`, each once; a topic that starts with `$` matches no leading wildcard (4.7.2). */
  match(topic: string): Set<T> {
    const found = new Set<T>();
    collect(this.#root, topic.split('/'), 0, found);
    return found;
  }

  /** True when nothing is registered any more. */
  get isEmpty(): boolean {
    return this.#root.below.size === 0;
  }
}

/** Does the filter name more than one topic? */
export function hasWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#');
}

function collect<T>(level: Level<T>, names: readonly string[], depth: number, found: Set<T>): void {
  const reserved = depth === 0 && names[0]?.startsWith('$') === true;
  if (!reserved) take(level.below.get('#'), found);
  const name = names[depth];
  if (name === undefined) {
    take(level, found);
    return;
  }
  const exact = level.below.get(name);
  if (exact !== undefined) collect(exact, names, depth + 1, found);
  const any = reserved ? undefined : level.below.get('+');
  if (any !== undefined) collect(any, names, depth + 1, found);
}

function take<T>(level: Level<T> | undefined, found: Set<T>): void {
  for (const value of level?.values ?? []) found.add(value);
}

function prune<T>(level: Level<T>, names: readonly string[], depth: number, value: T): void {
  const name = names[depth];
  if (name === undefined) {
    level.values.delete(value);
    return;
  }
  const next = level.below.get(name);
  if (next === undefined) return;
  prune(next, names, depth + 1, value);
  if (next.values.size === 0 && next.below.size === 0) level.below.delete(name);
}
