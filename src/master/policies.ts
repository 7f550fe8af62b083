import * as v from 'valibot';
import type { Clock } from '../base/clock.ts';
import { Gate } from '../base/gate.ts';
import { decodeJson } from '../base/shape.ts';
import { stepsOf } from '../lifecycle/rollout.ts';
import type { PolicyView } from '../model/api.ts';
import {
  decodeDocument,
  describeDocument,
  isPolicyDocument,
  type OperatorDocument,
  type PolicyDocument,
  policyKinds,
} from '../model/document.ts';
import type { DocumentAck, PolicyBody, PolicySettings } from '../model/message.ts';
import type { DocumentRef } from '../store/documents.ts';
import type { StoredRollout } from '../store/rollouts.ts';
import type { Store } from '../store/store.ts';
import type { Outgoing } from './outgoing.ts';
import { actionOf } from './policy-kinds.ts';
import { nextRevision } from './revisions.ts';
import { nameOfChange } from './rollout-view.ts';

/** The one signed policy document of the trust domain, and what each node says of it. */
export interface Policies {
  /**
   * Publishes what is stored: under a new revision where it (or the settings) differs from what was published last (also after a crash between
   * the two), otherwise again under the same one, which renews the signature's expiry.
   */
  publish(): Promise<void>;
  onAck(node: string, ack: DocumentAck): void;
  view(nodes: readonly string[]): Promise<PolicyView[]>;
  readonly revision: number;
  /** What they are published with. */
  readonly settings: PolicySettings;
}

const metaName = 'policy';
/** Room for as many policies as one document takes. */
const stateBounds = { maxBytes: 4 * 1024 * 1024, maxDepth: 4 };
const stateSchema = v.object({
  revision: v.number(),
  /** The settings that were published with it: with others the policies mean something else. */
  settings: v.string(),
  /** The rollout that was published with it, and on how many nodes. */
  rollout: v.optional(v.string(), ''),
  /** The revision that first held a policy, by `<kind>/<namespace>/<name>@<revision of its document>`. */
  since: v.record(v.string(), v.number()),
});
type State = v.InferOutput<typeof stateSchema>;

/** What nodes have beside what is stored, or in its place. */
type RolloutBody = NonNullable<PolicyBody['rollout']>;

interface StoredPolicy {
  readonly key: string;
  /** As its operator sent it: to be published it need not be decoded, of which a mesh of thousands of policies would have to wait at each push. */
  readonly sent: unknown;
}

export async function openPolicies(
  parts: {
    readonly store: Store;
    readonly outgoing: Pick<Outgoing, 'policy'>;
    readonly clock: Clock;
    /** What a policy lacks to be in force whole. */
    readonly problemOf?: (document: PolicyDocument) => string | undefined;
    /** The one under way. */
    readonly rollout: () => StoredRollout | undefined;
  },
  settings: () => PolicySettings,
): Promise<Policies> {
  const { store, outgoing, clock, problemOf } = parts;
  const stored = await store.meta.get(metaName);
  let state: State =
    stored === undefined
      ? { revision: 0, settings: '', rollout: '', since: {} }
      : decodeJson(stateSchema, stored, metaName, stateBounds);
  // a publication that began before a change must not follow the one that has it
  const gate = new Gate();
  const acks = new Map<string, DocumentAck>();

  async function list(): Promise<StoredPolicy[]> {
    const rows = await store.documents.list(...policyKinds);
    return rows.map(row => toPolicy(row, row.json, row.revision));
  }

  async function advance(keys: readonly string[], settingsText: string, rollout: string): Promise<void> {
    const known = Object.keys(state.since);
    const isSame = keys.length === known.length && keys.every(key => key in state.since);
    if (isSame && state.settings === settingsText && state.rollout === rollout) return;
    const revision = nextRevision(state.revision, clock);
    const since = Object.fromEntries(keys.map(key => [key, state.since[key] ?? revision]));
    const next = { revision, settings: settingsText, rollout, since };
    await store.meta.set(metaName, JSON.stringify(next));
    state = next;
  }

  /** `change` is what the rollout under way makes of it. */
  function view(
    { key, document }: ReadPolicy,
    nodes: readonly string[],
    change?: { readonly name: string; readonly change: 'put' | 'remove'; readonly isNew: boolean },
  ): PolicyView {
    const revision = state.since[key] ?? state.revision;
    const said = nodes.map(node => ({ node, ack: acks.get(node) }));
    const problem = isPolicyDocument(document) ? problemOf?.(document) : undefined;
    const trying = said.filter(({ ack }) => change !== undefined && ack?.rollout === change.name);
    const isInForce = ({ ack }: (typeof said)[number]) => ack?.reason === undefined && (ack?.revision ?? 0) >= revision;
    const enforcing = change?.isNew ? [] : said.filter(each => isInForce(each) && !trying.includes(each));
    return {
      kind: document.kind,
      namespace: document.metadata.namespace,
      name: document.metadata.name,
      action: isPolicyDocument(document) ? actionOf(document) : '-',
      revision,
      enforcedOn: enforcing.length,
      nodes: nodes.length,
      ...(problem !== undefined && { problem }),
      ...(change && {
        rollout: { name: change.name, change: change.change, nodes: trying.map(({ node }) => node) },
      }),
      refusals: said.flatMap(({ node, ack }) => (ack?.reason === undefined ? [] : [{ node, reason: ack.reason }])),
    };
  }

  return {
    publish: () =>
      gate.run(async () => {
        const policies = await list();
        const rollout = parts.rollout();
        const body = rollout && bodyOf(rollout);
        const keys = [...policies, ...(rollout ? putsOf(rollout) : [])].map(policy => policy.key);
        const now = settings();
        await advance(
          keys,
          JSON.stringify(now),
          body === undefined ? '' : `${body.name} on ${body.nodes?.length ?? 'all'}`,
        );
        const documents = policies.map(policy => policy.sent);
        await outgoing.policy(state.revision, { ...now, documents, ...(body && { rollout: body }) });
      }),
    onAck(node, ack) {
      if (ack.kind !== 'policy') return;
      // that something old or unreadable was refused changes nothing of what is in force
      const isOld = ack.reason !== undefined && ack.revision < (acks.get(node)?.revision ?? 0);
      if (!isOld) acks.set(node, ack);
    },
    get settings() {
      return settings();
    },
    async view(nodes) {
      const policies = (await list()).map(read);
      const rollout = parts.rollout();
      if (rollout === undefined) return policies.map(policy => view(policy, nodes));
      const changes = new Map(
        rollout.changes.map(each => [nameOfChange(each), each.json === null ? 'remove' : 'put'] as const),
      );
      const stored = new Set(policies.map(({ document }) => describeDocument(document)));
      const added = putsOf(rollout)
        .map(read)
        .filter(({ document }) => !stored.has(describeDocument(document)));
      return [...policies, ...added].map(policy => {
        const change = changes.get(describeDocument(policy.document));
        const isNew = !stored.has(describeDocument(policy.document));
        return view(policy, nodes, change && { name: rollout.name, change, isNew });
      });
    },
    get revision() {
      return state.revision;
    },
  };
}

function toPolicy(ref: DocumentRef, json: string, revision: string | number): StoredPolicy {
  const key = `${ref.kind}/${ref.namespace}/${ref.name}@${revision}`;
  return { key, sent: JSON.parse(json) };
}

interface ReadPolicy extends StoredPolicy {
  readonly document: OperatorDocument;
}

function read(policy: StoredPolicy): ReadPolicy {
  return { ...policy, document: decodeDocument(policy.sent, policy.key) };
}

function putsOf({ name, changes }: StoredRollout): StoredPolicy[] {
  return changes.flatMap(change => (change.json === null ? [] : [toPolicy(change, change.json, name)]));
}

/** The last step is everybody's, also of who comes later. */
function bodyOf(rollout: StoredRollout): RolloutBody {
  const { name, spec, changes, state } = rollout;
  const isLast = state.step + 1 === stepsOf(spec).length;
  const removed = changes.filter(({ json }) => json === null);
  return {
    name,
    ...(!isLast && { nodes: state.rings.flat() }),
    put: putsOf(rollout).map(({ sent }) => sent),
    remove: removed.map(({ kind, namespace, name }) => ({ kind, namespace, name })),
  };
}
