import * as v from 'valibot';
import { type Clock, hourMs, secondMs } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { decodeJson } from '../base/shape.ts';
import type { Files } from '../device/files.ts';
import { readCertificates } from '../identity/certificate.ts';
import type { TlsIdentity } from '../identity/contexts.ts';
import { generateKeyPair, keyIdOf, printPrivateKey, readPrivateKey, sha256Hex } from '../identity/keys.ts';
import { createRequest } from '../identity/request.ts';
import { type Moment, type TrustBundle, verifyChain } from '../identity/verify.ts';
import { shouldRotate } from '../lifecycle/rotation.ts';
import { encodeMessage, type MasterAck } from '../model/message.ts';
import type { Sender } from './sender.ts';

/** Keys and certificates that this node shows: asked for when they are needed, kept on the disk, renewed in time. */
export interface Certificates {
  /** Takes one that the node has already: its own, from the join. */
  put(spiffeId: string, identity: TlsIdentity): void;
  get(spiffeId: string): TlsIdentity | undefined;
  /** Takes what is on the disk: before the tasks, so that those which are found running are served as before. */
  load(): Promise<void>;
  /** These workloads are here: what is missing of them is asked for, what is there of others is removed. */
  want(spiffeIds: ReadonlySet<string>): Promise<void>;
  onAnswer(answer: NonNullable<MasterAck['certificate']>): Promise<void>;
  /** Asks for what is missing or due, now and until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
  /** Asks at once: the link has come up. */
  check(): void;
  /** Asks for another of the node's own, whatever the clock says. */
  renewOwn(): void;
  /** Asks for others in place of all that are here now, at some moment within `withinMs`; once, however often it is told meanwhile. */
  renewAll(withinMs: number, signal: AbortSignal): Promise<void>;
}

const checkEveryMs = 30 * secondMs;
/** A request without an answer is given up then, and made again. */
const answerWithinMs = 15 * secondMs;

/** However long a master would have this node wait with a renewal. */
const maxWithinMs = hourMs;

/** Of the files that hold the certificates of workloads. */
export const certificateFilePrefix = 'certificate-';

const storedSchema = v.object({ spiffeId: v.string(), keyPem: v.string(), chainPem: v.string() });

interface Held {
  readonly identity: TlsIdentity;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly jitter: number;
}

interface Pending {
  readonly id: string;
  readonly keyPem: string;
  readonly askedAt: number;
}

export function makeCertificates(parts: {
  readonly sender: Sender;
  readonly files: Files;
  readonly bundle: () => TrustBundle;
  /** For what is this node's own. */
  readonly moment: () => Moment;
  readonly clock: Clock;
  readonly random: Random;
  readonly newId: () => string;
  readonly log: Log;
  readonly isUp: () => boolean;
  /** The nonce with which the master is asked for the time, while it is needed. */
  readonly question: () => string | undefined;
  /** A new certificate is in force. */
  readonly onIssued: (spiffeId: string, identity: TlsIdentity) => Promise<void>;
}): Certificates {
  const { sender, files, bundle, moment, clock, random, newId, log, isUp, question, onIssued } = parts;
  const held = new Map<string, Held>();
  const pending = new Map<string, Pending>();
  const gate = new Gate();
  let own: string | undefined;
  /** To be renewed, whatever their age is by this clock. */
  const outdated = new Set<string>();
  let isRenewing = false;
  let wanted: ReadonlySet<string> = new Set();

  /** Throws UNTRUSTED unless the chain is for that id and that key, and holds now. */
  function verified(spiffeId: string, identity: TlsIdentity): Held {
    const chain = readCertificates(identity.chainPem, 'certificate');
    const result = verifyChain(chain, bundle(), 'client', moment());
    if (!result.ok) throw new MesoliteError('UNTRUSTED', result.reason);
    const { publicKey } = readPrivateKey(identity.keyPem, 'private key');
    if (result.peer.uri !== spiffeId || keyIdOf(result.leaf.publicKey) !== keyIdOf(publicKey)) {
      throw new MesoliteError('UNTRUSTED', `the certificate is for ${result.peer.uri} or for another key`);
    }
    const { validFrom, validTo } = result.leaf;
    return { identity, notBefore: Date.parse(validFrom), notAfter: Date.parse(validTo), jitter: random() };
  }

  function take(spiffeId: string, identity: TlsIdentity): boolean {
    try {
      held.set(spiffeId, verified(spiffeId, identity));
      return true;
    } catch (error) {
      log.warn('a certificate does not hold; another is asked for', { spiffeId, reason: messageOf(error) });
      return false;
    }
  }

  async function read(file: string): Promise<void> {
    try {
      const stored = await files.read(file);
      if (stored === undefined) return;
      const { spiffeId, ...identity } = decodeJson(storedSchema, stored.value, 'stored certificate');
      take(spiffeId, identity);
    } catch (error) {
      log.warn('a stored certificate cannot be read; another is asked for', { file, reason: messageOf(error) });
    }
  }

  function ask(spiffeId: string): void {
    const keys = generateKeyPair();
    const id = newId();
    pending.set(spiffeId, { id, keyPem: printPrivateKey(keys.privateKey), askedAt: clock.monotonic() });
    const csr = createRequest(spiffeId, keys).toString('base64');
    sender.send('csr', { id, spiffeId, csr, nonce: question() });
  }

  function isDue(spiffeId: string, { notBefore, notAfter, jitter }: Held): boolean {
    return outdated.has(spiffeId) || shouldRotate(notBefore, notAfter, clock.now(), jitter);
  }

  function check(): void {
    if (!isUp()) return;
    for (const spiffeId of new Set([...wanted, ...(own === undefined ? [] : [own])])) {
      const has = held.get(spiffeId);
      const asked = pending.get(spiffeId);
      if (has && !isDue(spiffeId, has)) continue;
      if (asked && clock.monotonic() - asked.askedAt < answerWithinMs) continue;
      ask(spiffeId);
    }
  }

  async function want(spiffeIds: ReadonlySet<string>): Promise<void> {
    const hasCome = [...spiffeIds].some(id => !wanted.has(id));
    wanted = spiffeIds;
    if (hasCome) check();
    const gone = new Set([...held.keys(), ...pending.keys()].filter(id => id !== own && !spiffeIds.has(id)));
    for (const spiffeId of gone) {
      held.delete(spiffeId);
      pending.delete(spiffeId);
      outdated.delete(spiffeId);
      await files.remove(fileOf(spiffeId));
    }
  }

  return {
    put(spiffeId, identity) {
      own = spiffeId;
      take(spiffeId, identity);
    },
    async load() {
      for (const name of await files.list()) if (name.startsWith(certificateFilePrefix)) await read(name);
    },
    get: spiffeId => held.get(spiffeId)?.identity,
    want: spiffeIds => gate.run(() => want(spiffeIds)),
    async onAnswer({ id, chain, error }) {
      const [spiffeId, asked] = [...pending].find(([, each]) => each.id === id) ?? [];
      if (spiffeId === undefined || asked === undefined) return;
      pending.delete(spiffeId);
      if (chain === undefined) {
        log.warn('the master gives no certificate', { spiffeId, reason: error });
        return;
      }
      const identity = { keyPem: asked.keyPem, chainPem: chain };
      if (!take(spiffeId, identity)) return;
      outdated.delete(spiffeId);
      log.info('a certificate is in force', { spiffeId, notAfter: held.get(spiffeId)?.notAfter });
      await onIssued(spiffeId, identity);
      // last, so that a full disk does not keep it from being used
      if (spiffeId !== own) await files.write(fileOf(spiffeId), encodeMessage({ spiffeId, ...identity }));
    },
    check,
    renewOwn() {
      if (own !== undefined) outdated.add(own);
      check();
    },
    async renewAll(withinMs, signal) {
      if (isRenewing) return;
      isRenewing = true;
      const present = new Map(held);
      const isTime = await clock.sleep(random() * Math.min(withinMs, maxWithinMs), signal);
      isRenewing = false;
      if (!isTime) return;
      // what was renewed meanwhile is by the new authority already
      for (const [spiffeId, before] of present) if (held.get(spiffeId) === before) outdated.add(spiffeId);
      check();
    },
    async run(signal) {
      do check();
      while (await clock.sleep(checkEveryMs, signal, 'loop'));
    },
  };
}

/** A SPIFFE id is longer than a file name may be. */
function fileOf(spiffeId: string): string {
  return certificateFilePrefix + sha256Hex(spiffeId).slice(0, 32);
}
