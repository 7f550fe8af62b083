import * as v from 'valibot';
import { Cell } from '../base/cell.ts';
import { type Clock, hourMs } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { decodeJson } from '../base/shape.ts';
import type { Files } from '../device/files.ts';
import { readCertificates } from '../identity/certificate.ts';
import { makeEnvelopeVerifier } from '../identity/signer.ts';
import { type Moment, readTrustBundle, type TrustBundle, verifyChain } from '../identity/verify.ts';
import type { EnvelopeVerifier } from '../model/envelope.ts';
import type { Manifest } from '../model/manifest.ts';
import { encodeMessage } from '../model/message.ts';
import type { NodeIdentity } from './node-identity.ts';

/** Whom this node believes: replaced whole, so that who reads it has roots, signers and revocations of one manifest. */
export interface Trusted {
  readonly bundle: TrustBundle;
  /** Upper-case hexadecimal serial numbers. */
  readonly revoked: ReadonlySet<string>;
  readonly verify: EnvelopeVerifier;
}

/** The trust that a node got when it joined, and then from each signed manifest; it is on the disk. */
export interface Trust {
  readonly current: Cell<Trusted>;
  /** Of the manifest that it is from; 0 for none. */
  readonly revision: number;
  /** Goes over to what a verified manifest says; throws UNTRUSTED when that would leave nobody to believe, and nothing changes. */
  take(manifest: TrustLists, revision: number): void;
}

type TrustLists = Pick<Manifest, 'roots' | 'signers' | 'issuers' | 'revoked'>;

/** What did not change but for its revision is written so often: until then a replayed manifest of the same content goes unnoticed. */
const keepEveryMs = 6 * hourMs;
const fileName = 'trust';
const pems = v.array(v.string());
const storedSchema = v.object({
  revision: v.number(),
  roots: pems,
  signers: pems,
  issuers: pems,
  revoked: v.array(v.string()),
});
const storedBounds = { maxBytes: 8 * 1024 * 1024, maxDepth: 4 };

/** Reads the trust of the disk, or begins with that of the join. `moment` is asked at each envelope. */
export async function openTrust(
  parts: {
    readonly files: Files;
    readonly clock: Clock;
    readonly log: Log;
    readonly moment: () => Moment;
    readonly inBackground: (what: string, work: Promise<unknown>) => void;
  },
  identity: Pick<NodeIdentity, 'trustDomain' | 'roots' | 'signers' | 'chainPem'>,
): Promise<Trust> {
  const { files, clock, log, moment, inBackground } = parts;
  const { trustDomain, chainPem } = identity;

  function readBundle({ roots, issuers }: TrustLists): TrustBundle {
    const own = readTrustBundle(trustDomain, roots, chainPem);
    const known = issuers.flatMap(pem => readCertificates(pem, 'issuer'));
    return { ...own, intermediates: [...known, ...own.intermediates] };
  }

  function read(lists: TrustLists, before?: { readonly lists: TrustLists; readonly bundle: TrustBundle }): Trusted {
    // the same authorities are the same object: who was judged by them need not be judged again
    const isSame = before !== undefined && authoritiesOf(before.lists) === authoritiesOf(lists);
    const bundle = isSame ? before.bundle : readBundle(lists);
    const { signers, revoked } = lists;
    return { bundle, revoked: new Set(revoked), verify: makeEnvelopeVerifier(signers, bundle, moment) };
  }

  const stored = await load(files, log);
  const { revision: storedRevision, ...storedLists } = stored ?? { revision: 0, ...ofJoin(identity) };
  const current = new Cell(read(storedLists));
  let revision = storedRevision;
  let inForce: TrustLists = storedLists;
  let keptAt = clock.monotonic();

  function keep(isNews: boolean): void {
    if (!isNews && clock.monotonic() - keptAt < keepEveryMs) return;
    keptAt = clock.monotonic();
    const written = files.write(fileName, encodeMessage({ revision, ...inForce })).catch(error => {
      keptAt = Number.NEGATIVE_INFINITY;
      throw error;
    });
    inBackground('keeping what the manifest says of trust', written);
  }

  return {
    current,
    get revision() {
      return revision;
    },
    take({ roots, signers, issuers, revoked }, from) {
      const lists = { roots, signers, issuers, revoked };
      const next = read(lists, { lists: inForce, bundle: current.value.bundle });
      if (!signers.some(pem => isSigner(pem, next, moment()))) {
        throw new MesoliteError('UNTRUSTED', 'the manifest names no signer that its own roots certify');
      }
      revision = from;
      const isNews = JSON.stringify(lists) !== JSON.stringify(inForce);
      inForce = lists;
      if (isNews) {
        log.info('roots, signers or revocations have changed', { roots: roots.length, revoked: revoked.length });
        current.set(next);
      }
      keep(isNews);
    },
  };
}

/** Of a node that has joined anew nothing holds that an earlier master said. */
export async function forgetTrust(files: Files): Promise<void> {
  await files.remove(fileName);
}

function ofJoin({ roots, signers }: Pick<NodeIdentity, 'roots' | 'signers'>): TrustLists {
  return { roots, signers, issuers: [], revoked: [] };
}

function authoritiesOf({ roots, issuers }: TrustLists): string {
  return JSON.stringify([roots, issuers]);
}

function isSigner(pem: string, { bundle, revoked }: Trusted, moment: Moment): boolean {
  const result = verifyChain(readCertificates(pem, 'configuration signer'), bundle, 'signing', { ...moment, revoked });
  return result.ok && result.peer.id.kind === 'config';
}

/** The roots that this node believes now, as PEM. */
export async function readRoots(
  files: Pick<Files, 'read'>,
  log: Log,
  { roots }: Pick<NodeIdentity, 'roots'>,
): Promise<readonly string[]> {
  return (await load(files, log))?.roots ?? roots;
}

async function load(files: Pick<Files, 'read'>, log: Log): Promise<v.InferOutput<typeof storedSchema> | undefined> {
  try {
    const stored = await files.read(fileName);
    return stored && decodeJson(storedSchema, stored.value, fileName, storedBounds);
  } catch (error) {
    log.error('the trust on the disk cannot be read; that of the join holds', { reason: messageOf(error) });
    return undefined;
  }
}
