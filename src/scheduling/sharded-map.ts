/**
 * An immutable map from words to values in a fixed number of shards: a batch of changes copies the shards it touches once,
 * never the whole, so that one event on a ledger of 100,000 tasks costs about as much as on one of 100.
 */
export interface ShardedMap<V> {
  readonly shards: readonly ReadonlyMap<string, V>[];
  readonly size: number;
}

/** Changes to a `ShardedMap` that are not yet a value; `finish` makes one, after which the draft is not used any more. */
export interface Draft<V> {
  get(key: string): V | undefined;
  set(key: string, value: V): void;
  delete(key: string): void;
  finish(): ShardedMap<V>;
}

const shardCount = 1024;

export function emptyMap<V>(): ShardedMap<V> {
  return { shards: Array.from<ReadonlyMap<string, V>>({ length: shardCount }).fill(new Map()), size: 0 };
}

export function lookUp<V>(map: ShardedMap<V>, key: string): V | undefined {
  return map.shards[shardOf(key)]?.get(key);
}

/** Every entry, in an order that depends on the keys and on when they came. */
export function* entriesOf<V>(map: ShardedMap<V>): Generator<[string, V]> {
  if (map.size === 0) return;
  for (const shard of map.shards) yield* shard;
}

export function draftOf<V>(map: ShardedMap<V>): Draft<V> {
  const shards = [...map.shards];
  const own = new Map<number, Map<string, V>>();
  let size = map.size;

  function open(index: number): Map<string, V> {
    const opened = own.get(index);
    if (opened !== undefined) return opened;
    const copy = new Map(shards[index]);
    own.set(index, copy);
    shards[index] = copy;
    return copy;
  }

  return {
    get: key => shards[shardOf(key)]?.get(key),
    set(key, value) {
      const shard = open(shardOf(key));
      if (!shard.has(key)) size++;
      shard.set(key, value);
    },
    delete(key) {
      const index = shardOf(key);
      if (shards[index]?.has(key) === true && open(index).delete(key)) size--;
    },
    finish: () => (own.size === 0 ? map : { shards, size }),
  };
}

/** FNV-1a, folded to a shard number. */
function shardOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return (hash ^ (hash >>> 15)) & (shardCount - 1);
}
