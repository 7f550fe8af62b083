import { installedVersion } from '../lifecycle/agent-version.ts';
import type { RolloutNode } from '../lifecycle/rollout.ts';
import { ownHashOf } from '../model/artifact.ts';
import { decodeDocument, type PolicyOf } from '../model/document.ts';
import type { Birth } from '../model/message.ts';
import type { DocumentChange, StoredRollout } from '../store/rollouts.ts';
import type { Store } from '../store/store.ts';

export type AgentVersion = PolicyOf<'AgentVersion'>;

/** The one that holds, and the one that is on its way. */
export async function agentVersions(
  store: Pick<Store, 'documents'>,
  rollout: StoredRollout | undefined,
): Promise<AgentVersion[]> {
  const stored = await store.documents.list('AgentVersion');
  const changes = rollout?.changes.filter(({ kind }) => kind === 'AgentVersion') ?? [];
  return [...stored, ...changes].flatMap(({ json }) => (json === null || json === '' ? [] : asAgentVersion(json)));
}

/** The version that a rollout brings, as nodes call theirs; undefined where it brings none. */
export function versionOf(changes: readonly DocumentChange[]): string | undefined {
  const change = changes.find(({ kind }) => kind === 'AgentVersion');
  if (change === undefined) return undefined;
  const [document] = change.json === null ? [] : asAgentVersion(change.json);
  return (document && ownHashOf(document.spec.source)) ?? installedVersion;
}

type Answer = Pick<RolloutNode, 'acknowledged' | 'refused'>;

/** A node that has taken the document has what it says only when it runs that version. */
export function withVersion<T extends Answer>(answer: T, birth: Birth | null, version: string | undefined): T {
  if (version === undefined || !answer.acknowledged) return answer;
  const { bundle = installedVersion, refusedBundle } = birth ?? {};
  const refused = refusedBundle?.bundle === version ? { refused: refusedBundle.why } : {};
  return { ...answer, ...refused, acknowledged: bundle === version };
}

function asAgentVersion(json: string): AgentVersion[] {
  const document = decodeDocument(JSON.parse(json), 'agent version');
  return document.kind === 'AgentVersion' ? [document] : [];
}
