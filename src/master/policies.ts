import * as v from 'valibot';
import type { Clock } from '../base/clock.ts';
import { Gate } from '../base/gate.ts';
import { decodeJson } from '../base/shape.ts';
import type { PolicyView } from '../model/api.ts';
import {
  decodeDocument,
  isPolicyDocument,
  type OperatorDocument,
  type PolicyDocument,
  policyKinds,
} from '../model/document.ts';
import type { DocumentAck, PolicySettings } from '../model/message.ts';
import type { Store } from '../store/store.ts';
import type { Outgoing } from './outgoing.ts';
import { actionOf } from './policy-kinds.ts';
import { nextRevision } from './revisions.ts';

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
  /** The revision that first held a policy, by `<kind>/<namespace>/<name>@<revision of its document>`. */
  since: v.record(v.string(), v.number()),
});
type State = v.InferOutput<typeof stateSchema>;

interface StoredPolicy {
  readonly key: string;
  readonly document: OperatorDocument;
  readonly sent: unknown;
}

export async function openPolicies(
  parts: {
    readonly store: Store;
    readonly outgoing: Pick<Outgoing, 'policy'>;
    readonly clock: Clock;
    /** What a policy lacks to be in force whole. */
    readonly problemOf?: (document: PolicyDocument) => string | undefined;
  },
  settings: () => PolicySettings,
): Promise<Policies> {
  const { store, outgoing, clock, problemOf } = parts;
  const stored = await store.meta.get(metaName);
  let state: State =
    stored === undefined
      ? { revision: 0, settings: '', since: {} }
      : decodeJson(stateSchema, stored, metaName, stateBounds);
  // a publication that began before a change must not follow the one that has it
  const gate = new Gate();
  const acks = new Map<string, DocumentAck>();

  async function list(): Promise<StoredPolicy[]> {
    const rows = await store.documents.list(...policyKinds);
    return rows.map(row => {
      const sent: unknown = JSON.parse(row.json);
      const key = `${row.kind}/${row.namespace}/${row.name}@${row.revision}`;
      return { key, document: decodeDocument(sent, key), sent };
    });
  }

  async function advance(keys: readonly string[], settingsText: string): Promise<void> {
    const known = Object.keys(state.since);
    const isSame = keys.length === known.length && keys.every(key => key in state.since);
    if (isSame && state.settings === settingsText) return;
    const revision = nextRevision(state.revision, clock);
    const since = Object.fromEntries(keys.map(key => [key, state.since[key] ?? revision]));
    const next = { revision, settings: settingsText, since };
    await store.meta.set(metaName, JSON.stringify(next));
    state = next;
  }

  function view({ key, document }: StoredPolicy, nodes: readonly string[]): PolicyView {
    const revision = state.since[key] ?? state.revision;
    const said = nodes.map(node => ({ node, ack: acks.get(node) }));
    const problem = isPolicyDocument(document) ? problemOf?.(document) : undefined;
    return {
      kind: document.kind,
      namespace: document.metadata.namespace,
      name: document.metadata.name,
      action: isPolicyDocument(document) ? actionOf(document) : '-',
      revision,
      enforcedOn: said.filter(({ ack }) => ack?.reason === undefined && (ack?.revision ?? 0) >= revision).length,
      nodes: nodes.length,
      ...(problem !== undefined && { problem }),
      refusals: said.flatMap(({ node, ack }) => (ack?.reason === undefined ? [] : [{ node, reason: ack.reason }])),
    };
  }

  return {
    publish: () =>
      gate.run(async () => {
        const policies = await list();
        const now = settings();
        await advance(
          policies.map(policy => policy.key),
          JSON.stringify(now),
        );
        await outgoing.policy(state.revision, { ...now, documents: policies.map(policy => policy.sent) });
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
    view: async nodes => (await list()).map(policy => view(policy, nodes)),
    get revision() {
      return state.revision;
    },
  };
}
