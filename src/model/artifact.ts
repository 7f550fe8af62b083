import * as v from 'valibot';

/** Bounds of what is put into tasks' directories. */
export const artifactBounds = {
  ofTask: 16,
  /** One artifact as it travels. */
  bytes: 1024 * 1024 * 1024,
  /** What one archive comes to. */
  unpackedBytes: 4 * 1024 * 1024 * 1024,
  unpackedEntries: 100_000,
} as const;

export const sha256Schema = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{64}$/, 'expected 64 hexadecimal digits, in lower case'),
);

/** Before the hash of what the master has itself. */
const ownPrefix = 'mesolite:';

/** The most artifacts that a node tells it has, those used last. */
export const maxHeld = 128;

/** What an artifact is called where many are told of: the first half of the first half of its hash. */
export function contentKeyOf(sha256: string): string {
  return sha256.slice(0, 16);
}

/** What of artifacts is on a node, and how fast others come to it. */
export const stockSchema = v.object({
  /** Bytes, by `contentKeyOf`. */
  holds: v.pipe(
    v.record(v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/)), v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
    v.maxEntries(maxHeld),
  ),
  /** As measured since the agent has started; absent: nothing of size has come yet. */
  bytesPerSecond: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1))),
});

export type Stock = v.InferOutput<typeof stockSchema>;

/** The address of what a master has: `mesolite:<sha256>`. */
export function addressOf(sha256: string): string {
  return ownPrefix + sha256;
}

/** The hash in the address of what the master has; undefined for what is elsewhere. */
export function ownHashOf(source: string): string | undefined {
  return source.startsWith(ownPrefix) ? source.slice(ownPrefix.length) : undefined;
}

/** What a source is called in messages: a query may hold a credential. */
export function nameOfSource(source: string): string {
  return source.replace(/[?#].*$/, '');
}

/** The last part of a source's path, which a file is called by; empty where it has none. */
export function fileNameOf(source: string): string {
  return ownHashOf(source) === undefined ? (nameOfSource(source).split('/').at(-1) ?? '') : '';
}

const aSource = 'expected https://… or mesolite:<sha256>, as `mesolite push` prints it';
const sourceSchema = v.pipe(
  v.string(),
  v.maxLength(2048),
  v.check(source => /^mesolite:[0-9a-f]{64}$/.test(source) || isWebAddress(source), aSource),
);

/** `URL` is not of layer 1: what it refuses beyond this fails when the node asks. */
function isWebAddress(source: string): boolean {
  // without a user: it would be in every listing of the job
  return /^https:\/\/(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?\/[\x21-\x7e]*$/.test(source);
}

const segment = /^(?!\.{1,2}$)[^/\p{Cc}]{1,255}$/u;
const destinationSchema = v.pipe(
  v.string(),
  v.maxLength(1024),
  v.check(
    path =>
      path === '.' ||
      path
        .replace(/\/$/, '')
        .split('/')
        .every(part => segment.test(part)),
    'expected a path below the task’s directory, as conf/app.json',
  ),
);

/** What `minisign -S` writes beside a file. */
export const signatureSchema = v.pipe(
  v.string(),
  v.maxLength(1024),
  v.regex(
    /^untrusted comment: .*\n[A-Za-z0-9+/=]{100}\ntrusted comment: .*\n[A-Za-z0-9+/=]{88}\n?$/,
    'expected the four lines of a .minisig file, as a block (signature: |)',
  ),
);

const fields = {
  source: sourceSchema,
  /** `auto`: what is a tar.gz is unpacked, all else is a file. */
  unpack: v.optional(v.picklist(['auto', 'none', 'tar.gz']), 'auto'),
  /** Where to unpack; of a file its path, or its folder where a slash ends it. */
  destination: v.optional(destinationSchema),
  /** A file that is run. */
  executable: v.optional(v.boolean()),
  /** By whom the file is signed, for nodes that ask for it. */
  signature: v.optional(signatureSchema),
};

/** An artifact as a job names it. */
export const artifactSchema = v.pipe(
  v.strictObject({ ...fields, sha256: v.optional(sha256Schema) }),
  v.check(
    ({ source, sha256 }) => sha256 !== undefined || ownHashOf(source) !== undefined,
    'sha256: required with https, so that nothing else is ever run',
  ),
  v.check(
    ({ source, sha256 }) => sha256 === undefined || (ownHashOf(source) ?? sha256) === sha256,
    'sha256: differs from the one in source; leave it out',
  ),
  v.check(
    ({ source, unpack, destination = '.' }) => unpack !== 'none' || fileOf(source, destination) !== '',
    'destination: required, since the source does not say how the file is called',
  ),
);

export const artifactsSchema = v.pipe(
  v.array(artifactSchema),
  v.maxLength(artifactBounds.ofTask, `expected at most ${artifactBounds.ofTask}`),
  v.check(artifacts => {
    const files = artifacts
      .filter(({ unpack }) => unpack === 'none')
      .map(({ source, destination = '.' }) => fileOf(source, destination));
    return new Set(files).size === files.length;
  }, 'two would be the same file: give each its destination'),
);

/** An artifact as a node gets it. */
export const taskArtifactSchema = v.strictObject({ ...fields, sha256: sha256Schema });

export type Artifact = v.InferOutput<typeof artifactSchema>;
export type TaskArtifact = v.InferOutput<typeof taskArtifactSchema>;

export function toTaskArtifact({ sha256, ...artifact }: Artifact): TaskArtifact {
  return { ...artifact, sha256: ownHashOf(artifact.source) ?? sha256 ?? '' };
}

/** The path of an artifact that is not unpacked, in the task's directory; empty where nothing says it. */
export function fileOf(source: string, destination: string): string {
  const isFolder = destination === '.' || destination.endsWith('/');
  if (!isFolder) return destination;
  const name = fileNameOf(source);
  if (!segment.test(name)) return '';
  return destination === '.' ? name : destination + name;
}

/** An artifact in the master's store. */
export const artifactViewSchema = v.object({
  address: v.string(),
  sha256: v.string(),
  bytes: v.number(),
  /** Milliseconds since 1970. */
  pushedAt: v.number(),
  /** The jobs that name it, as `<namespace>/<name>`. */
  jobs: v.array(v.string()),
});
export const artifactListSchema = v.object({ artifacts: v.array(artifactViewSchema) });

export type ArtifactView = v.InferOutput<typeof artifactViewSchema>;
