import { type Command, InvalidArgumentError, Option } from 'commander';
import { isTrustDomain } from '../model/identity.ts';
import { defaultMesh, type MeshDefault, type PathNormalization, pathNormalizations } from '../model/policy.ts';
import { parseName } from './arguments.ts';

/** What policies are read in, as far as the command line says it. */
export interface MeshOptions {
  readonly rootNamespace?: string;
  readonly meshDefault?: MeshDefault;
  readonly pathNormalization?: PathNormalization | undefined;
  readonly trustDomain?: string;
}

export interface Mesh {
  readonly rootNamespace: string;
  readonly meshDefault: MeshDefault;
  readonly pathNormalization: PathNormalization;
  readonly trustDomain?: string;
}

/** Adds the options by which `mesolite master` is told of its mesh, for commands that ask none. */
export function withMeshOptions(command: Command): Command {
  return command
    .option(
      '--root-namespace <name>',
      `policies in it hold for every namespace (default: "${defaultMesh.rootNamespace}")`,
      parseName,
    )
    .addOption(
      new Option(
        '--mesh-default <verdict>',
        `what holds where no policy speaks (default: "${defaultMesh.meshDefault}")`,
      ).choices(['allow', 'deny']),
    )
    .addOption(
      new Option(
        '--path-normalization <mode>',
        `how paths are read before policies look at them (default: "${defaultMesh.pathNormalization}")`,
      ).choices(pathNormalizations),
    )
    .option(
      '--trust-domain <name>',
      `of the mesh (default: "${defaultMesh.trustDomain}", or "cluster.local" for callers of that name)`,
      parseTrustDomain,
    );
}

/** `known` is what a master says, where one was asked. */
export function meshOf(options: MeshOptions, known: MeshOptions = {}): Mesh {
  const { rootNamespace, meshDefault, pathNormalization } = defaultMesh;
  const trustDomain = options.trustDomain ?? known.trustDomain;
  return {
    rootNamespace: options.rootNamespace ?? known.rootNamespace ?? rootNamespace,
    meshDefault: options.meshDefault ?? known.meshDefault ?? meshDefault,
    pathNormalization: options.pathNormalization ?? known.pathNormalization ?? pathNormalization,
    ...(trustDomain !== undefined && { trustDomain }),
  };
}

function parseTrustDomain(text: string): string {
  if (!isTrustDomain(text)) throw new InvalidArgumentError('expected a name as edge.example');
  return text;
}
