import {
  decodeDocument,
  describeDocument,
  type Job,
  type OperatorDocument,
  type PolicyKind,
  type PolicyOf,
} from '../model/document.ts';
import { warningText } from '../model/warning.ts';
import { analyzePolicies } from '../policy/analyze.ts';
import type { Scalars } from '../scheduling/amounts.ts';
import { analyzeRoles } from '../scheduling/analyze.ts';
import type { Store } from '../store/store.ts';
import { analyzeTraffic } from '../traffic/analyze.ts';
import { isRole } from './roles.ts';

/** Each kind with what has to be looked at beside it. */
const looksAt = {
  AuthorizationPolicy: ['AuthorizationPolicy', 'PeerAuthentication', 'Job'],
  PeerAuthentication: ['Job'],
  RequestAuthentication: ['Job'],
  RateLimit: ['Job'],
  VirtualService: ['VirtualService', 'DestinationRule', 'Job'],
  DestinationRule: ['VirtualService', 'DestinationRule', 'Job'],
  Job: ['Job'],
  Role: ['Role'],
} as const satisfies Readonly<Record<string, readonly (PolicyKind | 'Job' | 'Role')[]>>;

/** The traps in documents that were sent, in the mesh with them: for each of them the sentences. */
export async function analyzeSent(
  store: Pick<Store, 'documents'>,
  sent: readonly OperatorDocument[],
  { total, ...settings }: { readonly rootNamespace: string; readonly trustDomain: string; readonly total: Scalars },
): Promise<string[][]> {
  const kinds = new Set(sent.flatMap(({ kind }): readonly string[] => (isLookedAt(kind) ? looksAt[kind] : [])));
  if (kinds.size === 0) return sent.map(() => []);
  const all = new Map<string, OperatorDocument>();
  for (const row of await store.documents.list(...kinds)) {
    const document = decodeDocument(JSON.parse(row.json), row.name);
    all.set(describeDocument(document), document);
  }
  for (const document of sent) all.set(describeDocument(document), document);
  const documents = [...all.values()].sort(byName);
  const of = <K extends PolicyKind>(kind: K) =>
    documents.filter((each): each is OperatorDocument & PolicyOf<K> => each.kind === kind);
  const jobs = documents.filter((each): each is Job => each.kind === 'Job');
  const only = new Set(sent.map(describeDocument));
  const shared = { ...settings, jobs, only };
  const warnings = [
    ...analyzePolicies({
      ...shared,
      policies: of('AuthorizationPolicy'),
      peerAuthentications: of('PeerAuthentication'),
      requestAuthentications: of('RequestAuthentication'),
      rateLimits: of('RateLimit'),
    }),
    ...analyzeTraffic({ ...shared, virtualServices: of('VirtualService'), destinationRules: of('DestinationRule') }),
    ...analyzeRoles({ roles: documents.filter(isRole), total, only }),
  ];
  return sent.map(each => {
    const name = describeDocument(each);
    return warnings.filter(({ document }) => document === name).map(warningText);
  });
}

function isLookedAt(kind: string): kind is keyof typeof looksAt {
  return Object.hasOwn(looksAt, kind);
}

/** As policies reach the nodes, which tells of two rules the earlier. */
function byName({ metadata: a }: OperatorDocument, { metadata: b }: OperatorDocument): number {
  if (a.namespace !== b.namespace) return a.namespace < b.namespace ? -1 : 1;
  return a.name < b.name ? -1 : 1;
}
