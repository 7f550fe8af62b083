import { type Clock, secondMs } from '../base/clock.ts';
import type { Manifest } from '../model/manifest.ts';
import type { Refusal, Refusals } from './refusals.ts';

/** A document may be on its way for so long after the manifest that names it; it is missed at the second look. */
const lookEveryMs = 10 * secondMs;

/** The newest manifest that was taken. */
export interface KnownManifest extends Pick<Manifest, 'policy' | 'services' | 'api'> {
  readonly revision: number;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

/**
 * Notices what the broker keeps back: documents older than the manifest says, which is also how a mix of old and new ones looks, and a
 * manifest that is not renewed. A document newer than the manifest is on time.
 */
export async function watchForWithheld(
  parts: {
    readonly clock: Clock;
    readonly refusals: Refusals;
    readonly isUp: () => boolean;
    readonly manifest: () => KnownManifest | undefined;
    readonly policyRevision: () => number;
    /** Of each service that is listened to; 0 for one of which nothing came. */
    readonly serviceRevisions: () => ReadonlyMap<string, number>;
  },
  signal: AbortSignal,
): Promise<void> {
  const { clock, refusals, isUp } = parts;
  let missedBefore: ReadonlySet<string> = new Set();
  const reported = new Map<string, string>();
  while (await clock.sleep(lookEveryMs, signal, 'loop')) {
    const missing = isUp() ? missingNow(parts) : [];
    for (const refusal of missing) {
      const name = `${refusal.kind} ${refusal.subject}`;
      const key = `${name} ${refusal.revision}`;
      if (!missedBefore.has(key) || reported.get(name) === key) continue;
      reported.set(name, key);
      refusals.report(refusal);
    }
    missedBefore = new Set(missing.map(({ kind, subject, revision }) => `${kind} ${subject} ${revision}`));
    for (const name of reported.keys()) {
      if (!missing.some(({ kind, subject }) => name === `${kind} ${subject}`)) reported.delete(name);
    }
  }
}

function missingNow(parts: Omit<Parameters<typeof watchForWithheld>[0], 'refusals' | 'isUp'>): Refusal[] {
  const { clock, policyRevision, serviceRevisions } = parts;
  const manifest = parts.manifest();
  if (manifest === undefined) return [withheldManifest(0, 'no manifest has come')];
  const { policy, services, revision, expiresAt } = manifest;
  const missing: Refusal[] = [];
  const now = clock.now();
  if (expiresAt <= now)
    missing.push(withheldManifest(revision, `the newest manifest expired ${now - expiresAt} ms ago`));
  if (policy > policyRevision()) missing.push(withheld('policy', 'all', policy, policyRevision()));
  for (const [key, has] of serviceRevisions()) {
    const named = services[key] ?? 0;
    if (named > has) missing.push(withheld('service', key, named, has));
  }
  return missing;
}

function withheld(kind: 'policy' | 'service', subject: string, named: number, has: number): Refusal {
  const reason = `the manifest names revision ${named}; revision ${has} is the newest that came`;
  return { kind, subject, revision: named, reason, withheld: true };
}

function withheldManifest(revision: number, reason: string): Refusal {
  return { kind: 'manifest', subject: 'all', revision, reason, withheld: true };
}
