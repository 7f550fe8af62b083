import type { ContentStore } from '../device/content-store.ts';
import { contentKeyOf, maxHeld, type Stock } from '../model/artifact.ts';

/** What of artifacts is here and how fast others come, for the master: it places tasks by that. */
export interface NodeStock {
  /** Something came or went; `fetched` where that was measured. */
  onChanged(fetched?: { readonly bytes: number; readonly ms: number }): void;
  /** What is here, if it has changed since this was asked, or if `all` is wanted. */
  news(all: boolean): Promise<Stock | undefined>;
}

/** Less than this tells how far a server is, not how wide the way is. */
const leastMeasuredBytes = 256 * 1024;

/** `tell` is called when there is news. */
export function makeNodeStock(store: Pick<ContentStore, 'list'>, tell: () => void): NodeStock {
  let hasChanged = false;
  let bytesPerSecond: number | undefined;
  return {
    onChanged(fetched) {
      if (fetched !== undefined && fetched.bytes >= leastMeasuredBytes) {
        const rate = Math.ceil((fetched.bytes * 1000) / Math.max(1, fetched.ms));
        bytesPerSecond = Math.ceil(((bytesPerSecond ?? rate) + rate) / 2);
      }
      hasChanged = true;
      tell();
    },
    async news(all) {
      if (!hasChanged && !all) return undefined;
      hasChanged = false;
      const newest = (await store.list()).sort((a, b) => b.usedAt - a.usedAt).slice(0, maxHeld);
      return {
        holds: Object.fromEntries(newest.map(({ sha256, bytes }) => [contentKeyOf(sha256), bytes])),
        ...(bytesPerSecond !== undefined && { bytesPerSecond }),
      };
    },
  };
}
