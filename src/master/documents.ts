import type { Clock } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import type { ApplyResult } from '../model/api.ts';
import { decodeDocument, describeDocument, type OperatorDocument } from '../model/document.ts';
import { checkPolicy } from '../policy/check.ts';
import type { DocumentOutcome, DocumentRef } from '../store/documents.ts';
import type { Store } from '../store/store.ts';
import { asJob, type Jobs } from './jobs.ts';

/** What operators send: checked whole, stored whole, and then carried out. */
export interface Documents {
  /** Throws INVALID_INPUT naming document, path and reason; then nothing is stored. */
  apply(sent: readonly unknown[]): Promise<ApplyResult>;
  /** Throws NOT_FOUND. */
  remove(kind: string, namespace: string, name: string): Promise<void>;
  /** As they were sent. */
  list(kind: string | undefined): Promise<unknown[]>;
  /** Carries out what a crash may have left undone between storing and doing. */
  resume(): Promise<void>;
}

interface Checked {
  readonly document: OperatorDocument;
  readonly json: string;
  readonly warnings: readonly string[];
}

export function makeDocuments(parts: {
  readonly store: Store;
  readonly jobs: Jobs;
  readonly clock: Clock;
  readonly onJobs: () => void;
  readonly onPolicies: () => Promise<void>;
}): Documents {
  const { store, jobs, clock, onJobs, onPolicies } = parts;
  const gate = new Gate(64);

  async function applyAll(sent: readonly unknown[]): Promise<ApplyResult> {
    const checked = sent.map((document, i) => check(document, `document ${i + 1}`));
    refuseTwins(checked);
    const puts = checked.map(({ document, json }) => ({ ...refOf(document), json }));
    const outcomes = await store.documents.apply(puts, clock.now());
    const changedJobs = checked.flatMap(({ document }) => (document.kind === 'Job' ? [document] : []));
    for (const job of changedJobs) await jobs.apply(job);
    if (changedJobs.length > 0) onJobs();
    if (outcomes.some(isChangedPolicy)) await onPolicies();
    return {
      results: outcomes.map(({ revision: _, ...outcome }, i) => ({
        ...outcome,
        warnings: [...(checked[i]?.warnings ?? [])],
      })),
    };
  }

  async function removeOne(ref: DocumentRef): Promise<void> {
    const stored = await store.documents.get(ref);
    if (stored === undefined)
      throw new MesoliteError('NOT_FOUND', `there is no ${ref.kind} ${ref.namespace}/${ref.name}`);
    // first the tasks: a job whose document is gone would never be stopped after a crash in between
    if (ref.kind === 'Job') await jobs.remove(asJob(JSON.parse(stored.json)));
    await store.documents.remove(ref);
    if (ref.kind === 'Job') onJobs();
    else await onPolicies();
  }

  return {
    apply: sent => gate.run(() => applyAll(sent)),
    remove: (kind, namespace, name) => gate.run(() => removeOne({ kind, namespace, name })),
    async list(kind) {
      return (await store.documents.list(kind)).map(row => JSON.parse(row.json));
    },
    resume: () =>
      gate.run(async () => {
        for (const row of await store.documents.list('Job')) {
          await jobs.apply(asJob(JSON.parse(row.json)));
        }
      }),
  };
}

function check(sent: unknown, what: string): Checked {
  const document = decodeDocument(sent, what);
  if (document.kind === 'Job') return { document, json: JSON.stringify(sent), warnings: [] };
  const { errors, warnings } = checkPolicy(document);
  const [first, ...more] = errors;
  if (first !== undefined) {
    const rest = more.length === 0 ? '' : ` (and ${more.length} more: ${more.slice(0, 4).join('; ')})`;
    throw new MesoliteError('INVALID_INPUT', `${what}: ${first}${rest}`);
  }
  return { document, json: JSON.stringify(sent), warnings };
}

function refuseTwins(checked: readonly Checked[]): void {
  const seen = new Set<string>();
  for (const { document } of checked) {
    const name = describeDocument(document);
    if (seen.has(name)) throw new MesoliteError('INVALID_INPUT', `${name} is there twice`);
    seen.add(name);
  }
}

function refOf({ kind, metadata }: OperatorDocument): DocumentRef {
  return { kind, namespace: metadata.namespace, name: metadata.name };
}

function isChangedPolicy({ kind, result }: DocumentOutcome): boolean {
  return kind !== 'Job' && result !== 'unchanged';
}
