import * as v from 'valibot';
import { backoffMs } from '../base/backoff.ts';
import { type Clock, minuteMs, secondMs } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { decodeJson } from '../base/shape.ts';
import type { FetchText } from '../link/fetch-text.ts';
import { decodeDocument, type OperatorDocument, type PolicyDocument } from '../model/document.ts';
import { keySetSchema } from '../model/message.ts';
import { isKeySet, type KeySet, readKeySet } from '../policy/key-set.ts';
import type { StoredRollout } from '../store/rollouts.ts';
import type { Store } from '../store/store.ts';
import type { Events } from './events.ts';

export const keySetTimes = {
  /** Istio's PILOT_JWT_PUB_KEY_REFRESH_INTERVAL; a tenth more or less. */
  refreshMs: 20 * minuteMs,
  retry: { baseMs: 20 * secondMs, maxMs: 5 * minuteMs },
  /** A changed policy has its keys fetched anew unless they are so young. */
  youngMs: minuteMs,
  /** A policy whose keys were never fetched is published without them after this. */
  firstWaitMs: 3 * secondMs,
  lookEveryMs: 5 * secondMs,
} as const;

/** The public keys of issuers that RequestAuthentications name by `jwksUri`: nodes get them with the policies, and need no way there. */
export interface KeySets {
  /** The last good ones, as they travel. */
  readonly carried: readonly CarriedKeys[];
  /** Looks which are named now; waits a while for those that were never fetched. */
  follow(): Promise<void>;
  /** What a policy lacks, in a sentence. */
  problemOf(document: PolicyDocument): string | undefined;
  /** Fetches them again and again until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
}

interface CarriedKeys {
  readonly uri: string;
  readonly keys: KeySet;
}

interface Entry {
  readonly uri: string;
  timeoutMs: number;
  keys: KeySet | undefined;
  /** Why the last attempt failed. */
  problem: string | undefined;
  /** Monotonic milliseconds. */
  dueAt: number;
  fetchedAt: number;
  failures: number;
  underWay: Promise<void> | undefined;
}

const metaName = 'key-sets';
const storedSchema = v.array(keySetSchema);
const storedBounds = { maxBytes: 1024 * 1024, maxDepth: 5 };

export async function openKeySets(parts: {
  readonly store: Store;
  readonly fetchText: FetchText;
  readonly clock: Clock;
  readonly random: Random;
  readonly events: Pick<Events, 'record'>;
  readonly log: Log;
  /** The one of policies that is under way. */
  readonly rollout?: () => StoredRollout | undefined;
  /** Has the policies published with what `carried` is now. */
  readonly onChanged: () => void;
}): Promise<KeySets> {
  const { store, fetchText, clock, random, events, log, rollout, onChanged } = parts;
  const stored = await store.meta.get(metaName);
  const kept = stored === undefined ? [] : decodeJson(storedSchema, stored, metaName, storedBounds);
  const entries = new Map<string, Entry>();
  let carried: readonly CarriedKeys[] = kept;
  /** Of the documents that were looked at last. */
  let version: string | undefined;
  let waiters = 0;
  const stopping = new AbortController();

  function enter(uri: string, timeoutMs: number): Entry {
    const known = entries.get(uri);
    const keys = carried.find(each => each.uri === uri)?.keys;
    const fresh = {
      uri,
      timeoutMs,
      keys,
      problem: undefined,
      dueAt: 0,
      fetchedAt: Number.NEGATIVE_INFINITY,
      failures: 0,
    };
    const entry: Entry = known ?? { ...fresh, underWay: undefined };
    entry.timeoutMs = timeoutMs;
    entries.set(uri, entry);
    return entry;
  }

  async function attempt(entry: Entry): Promise<void> {
    const controller = new AbortController();
    const reason = new Error(`no answer within ${entry.timeoutMs} ms`);
    const cancel = clock.after(entry.timeoutMs, () => controller.abort(reason));
    try {
      const keys = readKeySet(await fetchText(entry.uri, AbortSignal.any([controller.signal, stopping.signal])));
      if (!isKeySet(keys)) throw new MesoliteError('INVALID_INPUT', `what it gives is no use: ${keys.reason}`);
      await take(entry, keys);
    } catch (error) {
      if (stopping.signal.aborted) return;
      entry.problem = messageOf(error);
      entry.dueAt = clock.monotonic() + backoffMs(entry.failures++, keySetTimes.retry, random);
      events.record('keys-unavailable', { message: sentence(entry) });
    } finally {
      cancel();
      entry.underWay = undefined;
    }
  }

  async function take(entry: Entry, keys: KeySet): Promise<void> {
    const now = clock.monotonic();
    const isSame = JSON.stringify(entry.keys) === JSON.stringify(keys);
    Object.assign(entry, { keys, problem: undefined, failures: 0, fetchedAt: now });
    entry.dueAt = now + keySetTimes.refreshMs * (0.9 + 0.2 * random());
    if (isSame || !entries.has(entry.uri)) return;
    log.info('the keys of an issuer have changed', { uri: entry.uri, keys: keys.length });
    await keep();
    if (waiters === 0) onChanged();
  }

  function fetchNow(entry: Entry): Promise<void> {
    entry.underWay ??= attempt(entry);
    return entry.underWay;
  }

  /** What is carried is on the disk first, so that a master that starts anew without a network still has it. */
  async function keep(): Promise<void> {
    const next: CarriedKeys[] = [...entries.values()].flatMap(({ uri, keys }) =>
      keys === undefined ? [] : [{ uri, keys }],
    );
    next.sort((a, b) => (a.uri < b.uri ? -1 : 1));
    if (JSON.stringify(next) === JSON.stringify(carried)) return;
    await store.meta.set(metaName, JSON.stringify(next));
    carried = next;
  }

  async function look(): Promise<boolean> {
    const { name, changes } = rollout?.() ?? { name: '', changes: [] };
    // what a rollout tries needs its keys as well
    const tried = changes.flatMap(change =>
      change.kind === 'RequestAuthentication' && change.json !== null
        ? [{ ...change, json: change.json, revision: name }]
        : [],
    );
    const rows = [...(await store.documents.list('RequestAuthentication')), ...tried];
    const now = rows.map(row => `${row.namespace}/${row.name}@${row.revision}`).join(' ');
    if (now === version) return false;
    version = now;
    const named = new Map<string, number>();
    for (const row of rows) {
      const document = decodeDocument(JSON.parse(row.json), row.name);
      for (const [uri, timeoutMs] of addressesIn(document)) named.set(uri, Math.max(timeoutMs, named.get(uri) ?? 0));
    }
    for (const uri of entries.keys()) if (!named.has(uri)) entries.delete(uri);
    for (const [uri, timeoutMs] of named) enter(uri, timeoutMs);
    await keep();
    return true;
  }

  /** The attempts at those that were never fetched; the others are fetched meanwhile. */
  function refresh(): Promise<void>[] {
    const old = clock.monotonic() - keySetTimes.youngMs;
    return [...entries.values()]
      .filter(({ fetchedAt }) => fetchedAt < old)
      .flatMap(entry => {
        const work = fetchNow(entry);
        return entry.keys === undefined ? [work] : [];
      });
  }

  return {
    get carried() {
      return carried;
    },
    async follow() {
      if (!(await look())) return;
      waiters++;
      const enough = new AbortController();
      await Promise.race([Promise.all(refresh()), clock.sleep(keySetTimes.firstWaitMs, enough.signal)]);
      enough.abort();
      waiters--;
    },
    problemOf(document) {
      const own = [...addressesIn(document).keys()];
      const lacking = own.flatMap(uri => entries.get(uri) ?? []).filter(({ problem }) => problem !== undefined);
      return lacking.length === 0 ? undefined : lacking.map(sentence).join('; ');
    },
    async run(signal) {
      await look();
      do {
        const now = clock.monotonic();
        for (const entry of entries.values()) if (entry.dueAt <= now) void fetchNow(entry);
      } while (await clock.sleep(keySetTimes.lookEveryMs, signal, 'loop'));
      stopping.abort();
      await Promise.all([...entries.values()].flatMap(({ underWay }) => underWay ?? []));
    },
  };
}

/** The addresses that a document names for keys, with the time that each may take in milliseconds. */
export function addressesIn(document: OperatorDocument): Map<string, number> {
  const rules = document.kind === 'RequestAuthentication' ? document.spec.jwtRules : [];
  const found = new Map<string, number>();
  for (const { jwksUri, timeout } of rules) {
    if (jwksUri !== undefined) found.set(jwksUri, Math.max(timeout, found.get(jwksUri) ?? 0));
  }
  return found;
}

function sentence({ uri, keys, problem }: Entry): string {
  const meanwhile = keys === undefined ? 'tokens by its keys are refused' : 'the keys that it gave last are used';
  return `${uri}: ${problem}: ${meanwhile}`;
}
