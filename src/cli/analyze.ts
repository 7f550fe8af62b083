import type { Command } from 'commander';
import { nodeListSchema } from '../model/api.ts';
import { describeDocument, type OperatorDocument, type RoleDocument } from '../model/document.ts';
import { defaultMesh } from '../model/policy.ts';
import { likelyMistake, type Warning } from '../model/warning.ts';
import { analyzePolicies } from '../policy/analyze.ts';
import { type Scalars, sumOf } from '../scheduling/amounts.ts';
import { analyzeRoles } from '../scheduling/analyze.ts';
import { analyzeTraffic } from '../traffic/analyze.ts';
import { collect } from './arguments.ts';
import { checkDocument } from './document-checks.ts';
import { AnsweredNo, usageError } from './exit-codes.ts';
import { documentsOf, fetchMesh, jobsIn, type MeshState, readMeshFiles, withDocuments } from './mesh-documents.ts';
import { type MeshOptions, meshOf, withMeshOptions } from './mesh-options.ts';
import { type OutputOptions, printAs, withOutput } from './output.ts';
import { openSession } from './session.ts';
import { print, remark, type Shell } from './shell.ts';

interface AnalyzeOptions extends MeshOptions, OutputOptions {
  readonly file: readonly string[];
  readonly offline?: true;
  readonly strict?: true;
}

/** `mesolite analyze [-f FILE]` */
export function addAnalyze(program: Command, shell: Shell): void {
  const command = program
    .command('analyze')
    .description('warn of what is legal in policies, routes and roles, and hardly means what its author thinks')
    .option(
      '-f, --file <path>',
      'only of these, as if they were applied: file, directory or -; may be repeated',
      collect,
      [],
    )
    .option('--offline', 'ask no master: the files are all there is')
    .option('--strict', 'end with 1 where there is a warning');
  withOutput(withMeshOptions(command)).action(async (options: AnalyzeOptions) => {
    if (options.offline === true && options.file.length === 0) throw usageError('expected -f FILE with --offline');
    const known: MeshState =
      options.offline === true
        ? { mesh: meshOf(options), documents: new Map() }
        : await fetchMesh(openSession(shell, command), options);
    const files = options.file.length === 0 ? undefined : await readMeshFiles(options.file, shell, known.mesh);
    const state = { ...known, documents: withDocuments(known.documents, files ?? []) };
    const meant = files ?? [...state.documents.values()];
    const warnings = analyze(state, meant);
    if (options.offline !== true && meant.some(({ kind }) => kind === 'Role')) {
      const { nodes } = await openSession(shell, command).get('/v1/nodes', nodeListSchema);
      warnings.push(...analyzeShares(state, meant, sumOf(nodes.map(({ total }) => total)).scalars));
    }
    printAs(shell, options.output, { warnings }, () => show(shell, warnings));
    if (options.strict === true && warnings.length > 0) throw new AnsweredNo();
  });
}

function show(shell: Shell, warnings: readonly Warning[]): void {
  if (warnings.length === 0) remark(shell, 'no warnings');
  for (const { code, document, path, reason, fix } of warnings) {
    print(shell, `${code} ${document}: ${path}`);
    print(shell, `    ${reason}`);
    print(shell, `    fix: ${fix}`);
  }
}

/** What there is to say of roles, in a fleet that has so much. */
function analyzeShares({ documents }: MeshState, meant: readonly OperatorDocument[], total: Scalars): Warning[] {
  const roles = [...documents.values()].filter((each): each is RoleDocument => each.kind === 'Role');
  return analyzeRoles({ roles, total, only: new Set(meant.map(describeDocument)) });
}

/** Warns of those of `meant`, in a mesh that has them. */
function analyze({ mesh, documents }: MeshState, meant: readonly OperatorDocument[]): Warning[] {
  const { rootNamespace, trustDomain = defaultMesh.trustDomain } = mesh;
  const jobs = jobsIn(documents);
  const shared = { rootNamespace, trustDomain, jobs, only: new Set(meant.map(describeDocument)) };
  const warnings = [
    ...analyzePolicies({
      ...shared,
      policies: documentsOf(documents, 'AuthorizationPolicy'),
      peerAuthentications: documentsOf(documents, 'PeerAuthentication'),
      requestAuthentications: documentsOf(documents, 'RequestAuthentication'),
      rateLimits: documentsOf(documents, 'RateLimit'),
    }),
    ...analyzeTraffic({
      ...shared,
      virtualServices: documentsOf(documents, 'VirtualService'),
      destinationRules: documentsOf(documents, 'DestinationRule'),
    }),
    ...meant.flatMap(document =>
      checkDocument(document, shared).warnings.map(said => likelyMistake(describeDocument(document), said)),
    ),
  ];
  return warnings.sort((a, b) => (a.document === b.document ? 0 : a.document < b.document ? -1 : 1));
}
