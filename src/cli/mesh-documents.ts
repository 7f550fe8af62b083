import { documentListSchema, meshSchema } from '../model/api.ts';
import {
  decodeDocument,
  describeDocument,
  type Job,
  type OperatorDocument,
  type PolicyKind,
  type PolicyOf,
} from '../model/document.ts';
import type { ApiClient } from './api-client.ts';
import { decodeAll } from './document-checks.ts';
import { readDocumentFiles } from './document-files.ts';
import { type Mesh, type MeshOptions, meshOf } from './mesh-options.ts';
import type { Shell } from './shell.ts';

/** Every document of a mesh, by what it is called. */
export type MeshDocuments = ReadonlyMap<string, OperatorDocument>;

/** What a mesh consists of, as far as its policies go. */
export interface MeshState {
  readonly mesh: Mesh;
  readonly documents: MeshDocuments;
}

/** What the master has; `options` are stronger than what it says of the mesh. */
export async function fetchMesh(api: ApiClient, options: MeshOptions): Promise<MeshState> {
  const [mesh, { documents }] = await Promise.all([
    api.get('/v1/mesh', meshSchema),
    api.get('/v1/documents', documentListSchema),
  ]);
  const decoded = documents.map((sent, i) => decodeDocument(sent, `document ${i + 1} of ${api.server}`));
  return { mesh: meshOf(options, mesh), documents: byName(decoded) };
}

/** The documents of files, as `apply` would take them; throws as `decodeAll` does. */
export async function readMeshFiles(
  files: readonly string[],
  shell: Shell,
  { rootNamespace }: Pick<Mesh, 'rootNamespace'>,
): Promise<OperatorDocument[]> {
  return decodeAll(await readDocumentFiles(files, shell), rootNamespace);
}

/** With documents added, or put in the place of those that are called alike. */
export function withDocuments(before: MeshDocuments, documents: readonly OperatorDocument[]): MeshDocuments {
  return new Map([...before, ...byName(documents)]);
}

export function jobsIn(documents: MeshDocuments): Job[] {
  return [...documents.values()].filter((document): document is Job => document.kind === 'Job');
}

/** Those of a kind, in the order in which a master sends them, which tells which of several rules that match is named. */
export function documentsOf<K extends PolicyKind>(documents: MeshDocuments, kind: K): PolicyOf<K>[] {
  const isOne = (document: OperatorDocument): document is OperatorDocument & PolicyOf<K> => document.kind === kind;
  return ordered(documents).filter(isOne);
}

function ordered(documents: MeshDocuments): OperatorDocument[] {
  return [...documents.values()].sort(
    (a, b) => compare(a.metadata.namespace, b.metadata.namespace) || compare(a.metadata.name, b.metadata.name),
  );
}

function compare(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

function byName(documents: readonly OperatorDocument[]): MeshDocuments {
  return new Map(documents.map(document => [describeDocument(document), document]));
}
