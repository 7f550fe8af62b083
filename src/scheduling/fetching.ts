/** What matters of a node to what it has to fetch. */
export interface FetchingNode {
  /** Bytes of the artifacts that it has, by `contentKeyOf`. */
  readonly holds?: Readonly<Record<string, number>> | undefined;
  /** At which it fetches those that it has not. */
  readonly fetchBytesPerSecond?: number | undefined;
}

/** Of a node that has not told its own: 8 Mbit/s, a modest way up. */
export const defaultFetchRate = 1_000_000;

/** How long `node` fetches those of the artifacts that it has not, in milliseconds; `bytesOf` is 0 where nobody knows. */
export function fetchMs(
  artifacts: readonly string[],
  { holds, fetchBytesPerSecond = defaultFetchRate }: FetchingNode,
  bytesOf: (artifact: string) => number,
): number {
  let bytes = 0;
  for (const key of artifacts) if (holds === undefined || !Object.hasOwn(holds, key)) bytes += bytesOf(key);
  return Math.ceil((bytes * 1000) / fetchBytesPerSecond);
}
