import type { Findings, PolicyOf } from '../model/document.ts';
import type { MtlsMode, PeerAuthenticationSpec } from '../model/peer-authentication.ts';
import { type Selectable, selects } from '../model/selector.ts';

type PeerAuthentication = PolicyOf<'PeerAuthentication'>;

/** One revision of all PeerAuthentications: a value that is swapped whole. */
export interface CompiledPeerAuthentication {
  /** How clients outside of the mesh are taken on this published port of a workload. */
  modeOf(workload: Selectable, port: number): MtlsMode;
}

/** Istio's, where nothing is set. */
const defaultMode: MtlsMode = 'PERMISSIVE';
export const noPeerAuthentication: CompiledPeerAuthentication = { modeOf: () => defaultMode };

/**
 * The workload's own policy goes before its namespace's, that before the mesh's (in the root namespace), and of the workload's own
 * what it says of a port before what it says of all. Of two on one level the stricter holds.
 */
export function compilePeerAuthentication(
  documents: readonly PeerAuthentication[],
  rootNamespace: string,
): CompiledPeerAuthentication {
  const general = documents.filter(({ spec }) => !isForWorkloads(spec));
  const special = documents.filter(
    ({ metadata, spec }) => isForWorkloads(spec) && metadata.namespace !== rootNamespace,
  );
  const ofNamespace = (namespace: string) =>
    strictest(general.filter(({ metadata }) => metadata.namespace === namespace).map(({ spec }) => spec.mtls.mode));
  return {
    modeOf(workload, port) {
      const own = special.filter(document => selects(document, workload, rootNamespace)).map(({ spec }) => spec);
      return (
        strictest(own.map(({ portLevelMtls }) => portLevelMtls?.[port]?.mode ?? 'UNSET')) ??
        strictest(own.map(({ mtls }) => mtls.mode)) ??
        ofNamespace(workload.namespace) ??
        ofNamespace(rootNamespace) ??
        defaultMode
      );
    },
  };
}

/** What its shape does not say; `publishes` tells which ports the jobs publish that it selects. */
export function checkPeerAuthentication(
  { metadata, spec }: PeerAuthentication,
  { rootNamespace, publishes }: { readonly rootNamespace: string; readonly publishes: ReadonlySet<number> },
): Findings {
  const forNobody = isForWorkloads(spec) && metadata.namespace === rootNamespace;
  const errors = forNobody
    ? [
        `spec.selector: in the root namespace a policy is for all workloads: leave it out, or use the workloads' namespace`,
      ]
    : [];
  const warnings = Object.keys(spec.portLevelMtls ?? {})
    .filter(port => !publishes.has(Number(port)))
    .map(port => `spec.portLevelMtls.${port}: no job that it selects publishes this port`);
  return { errors, warnings };
}

function isForWorkloads({ selector }: PeerAuthenticationSpec): boolean {
  return Object.keys(selector?.matchLabels ?? {}).length > 0;
}

function strictest(modes: readonly (MtlsMode | 'UNSET')[]): MtlsMode | undefined {
  for (const mode of ['STRICT', 'PERMISSIVE', 'DISABLE'] as const) if (modes.includes(mode)) return mode;
  return undefined;
}
