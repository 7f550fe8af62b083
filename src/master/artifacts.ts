import { hourMs } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { type Content, type ContentStore, openContentStore } from '../device/content-store.ts';
import { type ArtifactView, addressOf, artifactBounds, contentKeyOf, ownHashOf } from '../model/artifact.ts';
import type { Job, OperatorDocument } from '../model/document.ts';
import type { Assignments } from '../store/assignments.ts';
import type { AgentVersion } from './agent-versions.ts';

/** What operators have pushed, for the nodes whose tasks need it. */
export interface Artifacts {
  /** Throws TOO_LARGE, QUEUE_FULL where others push, or what is wrong with the disk. */
  push(bytes: AsyncIterable<Uint8Array>): Promise<ArtifactView>;
  /** Newest first. */
  list(): Promise<ArtifactView[]>;
  /** Throws NOT_FOUND, or CONFLICT while a job or the AgentVersion names it. */
  remove(sha256: string): Promise<void>;
  /** How large one is, by `contentKeyOf`; undefined for what is not here. */
  bytesOf(key: string): number | undefined;
  /** Throws INVALID_INPUT for a document that names what is not here; what it names stays for an hour in any case. */
  check(document: OperatorDocument, what: string): Promise<void>;
  /** For a node that has a task with it, or shall run it; throws NOT_FOUND for what is not here, FORBIDDEN for what is not the node's. */
  open(sha256: string, node: string): Promise<{ readonly path: string; readonly bytes: number }>;
}

export const artifactStoreBounds = { totalBytes: 16 * 1024 * 1024 * 1024, pushes: 4 } as const;

/** What is pushed is there for so long before a job has to name it. */
const graceMs = hourMs;

export async function openArtifacts(
  parts: {
    readonly jobs: () => Promise<readonly Job[]>;
    readonly assignments: Pick<Assignments, 'of'>;
    readonly agentVersions: () => Promise<readonly AgentVersion[]>;
    readonly now: () => number;
    readonly newId: () => string;
  },
  settings: { readonly directory: string; readonly totalBytes?: number },
): Promise<Artifacts> {
  const { jobs, agentVersions, assignments, now, newId } = parts;
  const { directory, totalBytes = artifactStoreBounds.totalBytes } = settings;
  const store: ContentStore = await openContentStore(directory, {
    maxBytes: artifactBounds.bytes,
    totalBytes,
    resumes: false,
    kept: async () => {
      const naming = await jobsByHash();
      return (sha256, usedAt) => naming.has(sha256) || usedAt > now() - graceMs;
    },
    now,
  });
  const sizes = new Map((await store.list()).map(({ sha256, bytes }) => [contentKeyOf(sha256), bytes]));
  let pushing = 0;

  async function jobsByHash(): Promise<Map<string, string[]>> {
    const naming = new Map<string, string[]>();
    for (const document of [...(await jobs()), ...(await agentVersions())]) {
      const { namespace, name } = document.metadata;
      const user = `${document.kind === 'Job' ? '' : `${document.kind} `}${namespace}/${name}`;
      for (const { sha256 } of named(document)) naming.set(sha256, [...(naming.get(sha256) ?? []), user]);
    }
    return naming;
  }

  function view({ sha256, bytes, addedAt }: Content, naming: ReadonlyMap<string, string[]>): ArtifactView {
    return { address: addressOf(sha256), sha256, bytes, pushedAt: addedAt, jobs: naming.get(sha256) ?? [] };
  }

  async function find(sha256: string): Promise<Content> {
    const content = await store.find(sha256);
    if (content === undefined) throw new MesoliteError('NOT_FOUND', `there is no artifact ${addressOf(sha256)}`);
    return content;
  }

  async function take(bytes: AsyncIterable<Uint8Array>): Promise<string> {
    const name = newId();
    const draft = await store.draft(name);
    try {
      for await (const piece of bytes) await draft.append(piece);
      return (await draft.finish()).sha256;
    } catch (error) {
      await draft.close();
      await store.removeDraft(name);
      throw error;
    }
  }

  return {
    async push(bytes) {
      if (pushing >= artifactStoreBounds.pushes) {
        throw new MesoliteError(
          'QUEUE_FULL',
          `${pushing} artifacts are being pushed already: try again when they are here`,
        );
      }
      pushing++;
      try {
        const content = await find(await take(bytes));
        sizes.set(contentKeyOf(content.sha256), content.bytes);
        return view(content, await jobsByHash());
      } finally {
        pushing--;
      }
    },
    async list() {
      const naming = await jobsByHash();
      return (await store.list()).sort((a, b) => b.addedAt - a.addedAt).map(content => view(content, naming));
    },
    async remove(sha256) {
      await find(sha256);
      const naming = (await jobsByHash()).get(sha256);
      if (naming !== undefined) {
        const what = `${naming.slice(0, 4).join(', ')}${naming.length > 4 ? ' and more' : ''}`;
        throw new MesoliteError('CONFLICT', `${addressOf(sha256)} is needed by ${what}: delete that first`);
      }
      await store.remove(sha256);
      sizes.delete(contentKeyOf(sha256));
    },
    bytesOf: key => sizes.get(key),
    async check(document, what) {
      for (const { sha256, place } of named(document)) {
        if ((await store.find(sha256)) === undefined) {
          throw new MesoliteError(
            'INVALID_INPUT',
            `${what}: ${place}: there is no ${addressOf(sha256)} here: mesolite push it first`,
          );
        }
        await store.touch(sha256);
      }
    },
    async open(sha256, node) {
      const { bytes } = await find(sha256);
      const isBundle = (await agentVersions()).some(({ spec }) => ownHashOf(spec.source) === sha256);
      if (isBundle) return { path: store.pathOf(sha256), bytes };
      const assignment = await assignments.of(node);
      const needs = assignment?.tasks.some(({ artifacts = [] }) =>
        artifacts.some(each => ownHashOf(each.source) === sha256),
      );
      if (needs !== true) throw new MesoliteError('FORBIDDEN', `node ${node} has no task with ${addressOf(sha256)}`);
      return { path: store.pathOf(sha256), bytes };
    },
  };
}

interface Named {
  readonly sha256: string;
  /** Where in the document. */
  readonly place: string;
}

/** What the master has to have for a document. */
function named(document: OperatorDocument): Named[] {
  const at = (source: string, place: string): Named[] => {
    const sha256 = ownHashOf(source);
    return sha256 === undefined ? [] : [{ sha256, place }];
  };
  if (document.kind === 'AgentVersion') return at(document.spec.source, 'spec.source');
  if (document.kind !== 'Job') return [];
  return (document.spec.artifacts ?? []).flatMap(({ source }, i) => at(source, `spec.artifacts[${i}].source`));
}
