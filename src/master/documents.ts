import type { Clock } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import type { Gate } from '../base/gate.ts';
import type { ApplyResult } from '../model/api.ts';
import {
  decodeDocument,
  describeDocument,
  isPolicyDocument,
  type Job,
  type OperatorDocument,
  type PolicyDocument,
  policyKinds,
} from '../model/document.ts';
import { maxKeySets } from '../model/message.ts';
import type { Scalars } from '../scheduling/amounts.ts';
import type { DocumentOutcome, DocumentPut, DocumentRef } from '../store/documents.ts';
import type { DocumentChange } from '../store/rollouts.ts';
import type { Store } from '../store/store.ts';
import type { VirtualService } from '../traffic/service-routes.ts';
import { analyzeSent } from './analysis.ts';
import type { Artifacts } from './artifacts.ts';
import { scheduleProblem } from './cron.ts';
import type { JobUpdates } from './job-updates.ts';
import { asJob, type Jobs } from './jobs.ts';
import { addressesIn } from './key-sets.ts';
import { checkPolicyDocument, type MeshFacts } from './policy-kinds.ts';
import { type Pushes, type PushOptions, policyBounds } from './pushes.ts';
import { checkRoles } from './roles.ts';
import { nameOfChange } from './rollout-view.ts';
import { checkSecrets } from './secrets.ts';
import { refuseCycles } from './start-order.ts';

/** What operators send: checked whole, stored whole, and then carried out. */
export interface Documents {
  /** Throws INVALID_INPUT naming document, path and reason; then nothing is stored. */
  apply(sent: readonly unknown[], options: PushOptions): Promise<ApplyResult>;
  /** Throws NOT_FOUND; the name of the rollout by which it goes, if there is one. */
  remove(ref: DocumentRef, options: PushOptions): Promise<string | undefined>;
  /** Removes an artifact that no job names; throws NOT_FOUND or CONFLICT. */
  removeArtifact(sha256: string): Promise<void>;
  /** As they were sent. */
  list(kind: string | undefined): Promise<unknown[]>;
  /** Carries out what a crash may have left undone between storing and doing. */
  resume(): Promise<void>;
}

type Outcome = DocumentOutcome['result'];

interface Sent {
  readonly document: OperatorDocument;
  readonly json: string;
}

export function makeDocuments(
  parts: {
    readonly store: Store;
    readonly jobs: Jobs;
    readonly artifacts: Pick<Artifacts, 'check' | 'remove'>;
    readonly updates: Pick<JobUpdates, 'begin' | 'forget'>;
    /** One change of what is wanted after the other. */
    readonly gate: Gate;
    readonly clock: Clock;
    /** What all nodes have. */
    readonly fleetTotal: () => Scalars;
    readonly onJobs: () => void;
    readonly onRoles: () => Promise<void>;
    readonly pushes: Pushes;
  },
  settings: { readonly rootNamespace: string; readonly trustDomain: string },
): Documents {
  const { store, jobs, artifacts, updates, gate, clock, onJobs, onRoles, pushes } = parts;

  async function applyAll(bodies: readonly unknown[], options: PushOptions): Promise<ApplyResult> {
    const sent = bodies.map((body, i) => ({
      document: decodeDocument(body, `document ${i + 1}`),
      json: JSON.stringify(body),
    }));
    refuseTwins(sent);
    for (const [i, { document }] of sent.entries()) {
      await artifacts.check(document, `document ${i + 1}`);
    }
    const warnings = await checkPolicies(sent);
    await checkJobs(jobsOf(sent));
    const hasRoles = sent.some(({ document }) => document.kind === 'Role');
    if (hasRoles)
      checkRoles(
        sent.map(({ document }) => document),
        await storedRoles(),
      );
    for (const job of jobsOf(sent)) {
      if (job.spec.secrets) checkSecrets(job, await store.secrets.versions(job.metadata.namespace));
    }
    const policies = sent.filter(({ document }) => isPolicyDocument(document));
    const results = new Map<string, Outcome>();
    const saysHow = options.atOnce === true || options.rollout !== undefined;
    for (const { document, json } of policies) {
      const wanted = await pushes.wanted(refOf(document));
      // who says how a push shall go may mean what is on its way already, by another way
      const before = saysHow ? (await store.documents.get(refOf(document)))?.json : wanted;
      const isSame = wanted === json && before === json;
      const result = isSame ? 'unchanged' : before === undefined ? 'created' : 'configured';
      results.set(describeDocument(document), result);
    }
    const changed = policies.filter(({ document }) => results.get(describeDocument(document)) !== 'unchanged');
    const fresh = sent.flatMap(({ document }) => (document.kind === 'Rollout' ? [document] : []));
    const push = await pushes.prepare(changed.map(changeOf), { ...options, fresh });
    const others = sent.filter(({ document }) => !isPolicyDocument(document)).map(changeOf);
    for (const job of jobsOf(sent)) await updates.begin(job);
    for (const outcome of await store.documents.apply([...others, ...push.direct].flatMap(putOf), clock.now())) {
      results.set(nameOfChange(outcome), outcome.result);
    }
    if (hasRoles) await onRoles();
    const changedJobs = jobsOf(sent);
    for (const job of changedJobs) await jobs.apply(job);
    if (changedJobs.length > 0) onJobs();
    const rollout = await push.go();
    // the nodes need not wait for what is said to the operator
    const traps = await analyzeSent(
      store,
      sent.map(({ document }) => document),
      { ...settings, total: parts.fleetTotal() },
    );
    return {
      results: sent.map(({ document }, i) => ({
        ...refOf(document),
        result: results.get(describeDocument(document)) ?? 'unchanged',
        warnings: [...(warnings[i] ?? []), ...(traps[i] ?? [])],
      })),
      ...(rollout !== undefined && { rollout }),
    };
  }

  /** The warnings of each document; throws for what no node would take. */
  async function checkPolicies(sent: readonly Sent[]): Promise<string[][]> {
    if (!sent.some(({ document }) => isPolicyDocument(document))) return [];
    await refuseTooMany(sent);
    await refuseTooManyKeySets(sent);
    const facts = {
      jobs: [...jobsOf(sent), ...(await jobs.list())],
      rootNamespace: settings.rootNamespace,
      virtualServices: await virtualServices(sent),
    };
    return sent.map(({ document }, i) =>
      isPolicyDocument(document) ? checkOne(document, `document ${i + 1}`, facts) : [],
    );
  }

  async function checkJobs(fresh: readonly Job[]): Promise<void> {
    for (const { spec, metadata } of fresh) {
      const problem = spec.periodic && scheduleProblem(spec.periodic);
      if (problem !== undefined) throw new MesoliteError('INVALID_INPUT', `job ${metadata.name}: spec.${problem}`);
    }
    if (!fresh.some(job => job.spec.after !== undefined)) return;
    const replaced = new Set(fresh.map(describeDocument));
    refuseCycles([...fresh, ...(await jobs.list()).filter(job => !replaced.has(describeDocument(job)))]);
  }

  async function storedRoles(): Promise<OperatorDocument[]> {
    return (await store.documents.list('Role')).map(row => decodeDocument(JSON.parse(row.json), row.name));
  }

  /** All that there will be; looked for only where one is among those sent. */
  async function virtualServices(sent: readonly Sent[]): Promise<VirtualService[]> {
    const isOne = (document: OperatorDocument): document is VirtualService => document.kind === 'VirtualService';
    const fresh = sent.map(({ document }) => document).filter(isOne);
    if (fresh.length === 0) return fresh;
    const replaced = new Set(fresh.map(describeDocument));
    const stored = (await store.documents.list('VirtualService'))
      .map(row => decodeDocument(JSON.parse(row.json), row.name))
      .filter(isOne);
    return [...fresh, ...stored.filter(document => !replaced.has(describeDocument(document)))];
  }

  async function refuseTooMany(sent: readonly Sent[]): Promise<void> {
    const sizes = new Map<string, number>();
    for (const { kind, namespace, name, json } of await store.documents.list(...policyKinds)) {
      sizes.set(`${kind} ${namespace}/${name}`, Buffer.byteLength(json));
    }
    for (const { document, json } of sent)
      if (isPolicyDocument(document)) sizes.set(describeDocument(document), Buffer.byteLength(json));
    const bytes = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    if (sizes.size <= policyBounds.count && bytes <= policyBounds.bytes) return;
    throw new MesoliteError(
      'TOO_LARGE',
      `${sizes.size} policies of ${bytes} bytes: at most ${policyBounds.count} of ${policyBounds.bytes} reach the nodes`,
    );
  }

  async function refuseTooManyKeySets(sent: readonly Sent[]): Promise<void> {
    const replaced = new Set(sent.map(({ document }) => describeDocument(document)));
    const rows = await store.documents.list('RequestAuthentication');
    const stored = rows.map(row => decodeDocument(JSON.parse(row.json), row.name));
    const all = [
      ...sent.map(({ document }) => document),
      ...stored.filter(each => !replaced.has(describeDocument(each))),
    ];
    const addresses = new Set(all.flatMap(document => [...addressesIn(document).keys()]));
    if (addresses.size <= maxKeySets) return;
    throw new MesoliteError('TOO_LARGE', `${addresses.size} addresses as jwksUri: at most ${maxKeySets} are fetched`);
  }

  async function removeOne(ref: DocumentRef, options: PushOptions): Promise<string | undefined> {
    if (policyKinds.includes(ref.kind)) return removePolicy(ref, options);
    const stored = await store.documents.get(ref);
    if (stored === undefined) throw notThere(ref);
    // first the tasks: a job whose document is gone would never be stopped after a crash in between
    if (ref.kind === 'Job') {
      await updates.forget(ref);
      await jobs.remove(asJob(JSON.parse(stored.json)));
    }
    await store.documents.remove(ref);
    if (ref.kind === 'Job') onJobs();
    if (ref.kind === 'Role') await onRoles();
    return undefined;
  }

  async function removePolicy(ref: DocumentRef, options: PushOptions): Promise<string | undefined> {
    if ((await pushes.wanted(ref)) === undefined) throw notThere(ref);
    const push = await pushes.prepare([{ ...ref, json: null }], options);
    for (const change of push.direct) await store.documents.remove(change);
    return push.go();
  }

  return {
    apply: (sent, options) => gate.run(() => applyAll(sent, options)),
    remove: (ref, options) => gate.run(() => removeOne(ref, options)),
    // so that no job comes in between that names it
    removeArtifact: sha256 => gate.run(() => artifacts.remove(sha256)),
    async list(kind) {
      const kinds = kind === undefined ? [] : [kind];
      return (await store.documents.list(...kinds)).map(row => JSON.parse(row.json));
    },
    resume: () =>
      gate.run(async () => {
        for (const row of await store.documents.list('Job')) {
          await jobs.apply(asJob(JSON.parse(row.json)));
        }
      }),
  };
}

function checkOne(policy: PolicyDocument, what: string, facts: MeshFacts): string[] {
  const { errors, warnings } = checkPolicyDocument(policy, facts);
  const [first, ...more] = errors;
  if (first === undefined) return [...warnings];
  const rest = more.length === 0 ? '' : ` (and ${more.length} more: ${more.slice(0, 4).join('; ')})`;
  throw new MesoliteError('INVALID_INPUT', `${what}: ${first}${rest}`);
}

function jobsOf(sent: readonly Sent[]): Job[] {
  return sent.flatMap(({ document }) => (document.kind === 'Job' ? [document] : []));
}

function refuseTwins(sent: readonly Sent[]): void {
  const seen = new Set<string>();
  for (const { document } of sent) {
    const name = describeDocument(document);
    if (seen.has(name)) throw new MesoliteError('INVALID_INPUT', `${name} is there twice`);
    seen.add(name);
  }
}

function refOf({ kind, metadata }: OperatorDocument): DocumentRef {
  return { kind, namespace: metadata.namespace, name: metadata.name };
}

function changeOf({ document, json }: Sent): DocumentChange {
  return { ...refOf(document), json };
}

function putOf({ json, ...ref }: DocumentChange): DocumentPut[] {
  return json === null ? [] : [{ ...ref, json }];
}

function notThere(ref: DocumentRef): MesoliteError {
  return new MesoliteError('NOT_FOUND', `there is no ${nameOfChange(ref)}`);
}
