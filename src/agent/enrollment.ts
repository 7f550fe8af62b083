import { randomBytes } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { type Clock, secondMs } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { decodeJson } from '../base/shape.ts';
import { onAbort } from '../base/signal.ts';
import { readCertificates } from '../identity/certificate.ts';
import { joinTlsOptions, verifyPinnedSocket } from '../identity/contexts.ts';
import { type JoinString, parseJoinString } from '../identity/join-string.ts';
import { type KeyPair, keyIdOf, printPrivateKey, sha256Hex } from '../identity/keys.ts';
import { createRequest } from '../identity/request.ts';
import { deriveJoinKey, joinRequestMac, joinResponseMac, macEquals, makeNonce } from '../identity/token.ts';
import { readTrustBundle, verifyChain } from '../identity/verify.ts';
import { type Link, untilUp } from '../link/link.ts';
import { MqttLink } from '../link/mqtt-link.ts';
import type { ProxyRules } from '../link/proxy-rules.ts';
import { printSpiffeId } from '../model/identity.ts';
import {
  encodeMessage,
  type JoinResult,
  joinResponseSchema,
  joinResultSchema,
  messageBounds,
} from '../model/message.ts';
import { topics } from '../model/topics.ts';
import type { NodeClock } from './clock.ts';
import { dialAny } from './dial-any.ts';
import { type MasterAddress, masterDials } from './master-dials.ts';
import type { NodeIdentity } from './node-identity.ts';

/** A request that has no answer by then is said again, so often. */
const answerWithinMs = 5 * secondMs;
const maxRequests = 12;

const tokenGone =
  'the master lets nobody in by this join string: it has expired, is used up or was revoked. `mesolite token create` makes another';

type Accepted = Extract<JoinResult, { status: 'accepted' }>;

export interface EnrollmentParts {
  readonly clock: Clock & Pick<NodeClock, 'known' | 'setTime'>;
  readonly random: Random;
  readonly log: Log;
  /** Through which proxy to go, if any. */
  readonly proxyFor: ProxyRules;
}

export interface EnrollmentRequest {
  /** As `mesolite token create` printed it. */
  readonly join: string;
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly profile: string;
  /** The key that the node is to be known by. */
  readonly keys: KeyPair;
}

/**
 * Joins: the master is known by its root's hash before one byte is sent, and the token's secret does not travel. Waits for a
 * master that cannot be reached; throws UNTRUSTED when it is another one, FORBIDDEN when it refuses, TIMED_OUT.
 */
export async function enroll(
  parts: EnrollmentParts,
  request: EnrollmentRequest,
  signal: AbortSignal,
): Promise<NodeIdentity> {
  const join = parseJoinString(request.join);
  const { node, labels, profile, keys } = request;
  const nonce = makeNonce();
  const door = openDoor(parts, join, nonce, signal);
  try {
    const trustDomain = await door.opened;
    const csr = createRequest(printSpiffeId({ kind: 'node', trustDomain, node }), keys).toString('base64');
    const key = deriveJoinKey(join.secret);
    const body = JSON.stringify({ node, csr, labels, profile });
    const message = encodeMessage({ v: 1, body, mac: joinRequestMac(key, nonce, body) });
    const read = (payload: Uint8Array) => readAnswer(payload, key, nonce, keyIdOf(keys.publicKey));
    const accepted = await ask(parts, door, { join, nonce, message, read }, signal);
    // the answer is to this run's nonce and key
    parts.clock.setTime(accepted.time);
    checkAccepted(accepted, join, node, keys, parts.clock.now());
    return {
      node,
      trustDomain: accepted.trustDomain,
      keyPem: printPrivateKey(keys.privateKey),
      chainPem: accepted.chain,
      roots: accepted.roots,
      signers: accepted.signers,
      masters: [...(accepted.masters ?? mastersOf(join))],
      taskSecret: randomBytes(32).toString('base64url'),
    };
  } finally {
    await door.close();
  }
}

interface Door {
  readonly link: Link;
  /** The master's trust domain, once it is there and is the one that the join string names. */
  readonly opened: Promise<string>;
  /** Rejects when it is another master, or one that does not know the token. */
  readonly refused: Promise<never>;
  close(): Promise<void>;
}

/** Whom the join string names. */
export function mastersOf({ addresses, wssPort }: JoinString): readonly MasterAddress[] {
  return wssPort === undefined ? addresses : addresses.map(address => ({ ...address, wssPort }));
}

function openDoor(
  { clock, random, log, proxyFor }: EnrollmentParts,
  join: JoinString,
  nonce: string,
  signal: AbortSignal,
): Door {
  const ended = new AbortController();
  const forget = onAbort(signal, () => ended.abort());
  let trustDomain = '';
  const verifyServer = (socket: TLSSocket): Error | undefined => {
    // a clock that is behind may be wrong about "not yet valid" alone, and the root is pinned
    const notYetValidToleranceMs = clock.known ? 0 : Number.POSITIVE_INFINITY;
    const verified = verifyPinnedSocket(socket, join.rootSha256, { now: clock.now(), notYetValidToleranceMs });
    if (!verified.ok) return new MesoliteError('UNTRUSTED', verified.reason);
    trustDomain = verified.peer.id.trustDomain;
    return undefined;
  };
  const { mqtts, wss } = masterDials({ tls: () => joinTlsOptions(), verifyServer, proxyFor }, mastersOf(join));
  const dial = dialAny([...mqtts, ...wss]);
  let refuse: (error: MesoliteError) => void = () => {};
  const refused = new Promise<never>((_, reject) => {
    refuse = reject;
  });
  // a master that is away may come back, one that is another never becomes the right one
  const onFailure = (error: MesoliteError) => {
    if (error.code === 'UNTRUSTED') refuse(error);
    if (error.code === 'FORBIDDEN') refuse(new MesoliteError('FORBIDDEN', tokenGone, { cause: error }));
    return error.code === 'UNTRUSTED' || error.code === 'FORBIDDEN';
  };
  const link = new MqttLink({ dial, clock, random, log, onFailure }, { clientId: nonce, username: join.id });
  const up = link.start(ended.signal).then(() => untilUp(link, ended.signal));
  return {
    link,
    opened: Promise.race([up.then(() => trustDomain), refused]),
    refused,
    async close() {
      forget();
      ended.abort();
      await link.closed;
    },
  };
}

interface Question {
  readonly join: JoinString;
  readonly nonce: string;
  readonly message: Uint8Array;
  /** Undefined for what is not the master's answer. */
  readonly read: (payload: Uint8Array) => JoinResult | undefined;
}

/** Says the request until it is decided: a lost answer is given again, one that an operator must approve is asked for again. */
async function ask(
  { clock, log }: EnrollmentParts,
  { link, refused }: Door,
  { join, nonce, message, read }: Question,
  signal: AbortSignal,
): Promise<Accepted> {
  let answered: (result: JoinResult) => void = () => {};
  link.subscribe(topics.joinResponse(join.id, nonce), (_, payload) => {
    const result = read(payload);
    if (result !== undefined) answered(result);
  });
  for (let requests = 0; requests < maxRequests && !signal.aborted; requests++) {
    await Promise.race([untilUp(link, signal), refused]);
    const answer = new Promise<JoinResult | undefined>(resolve => {
      answered = resolve;
      void clock.sleep(answerWithinMs, signal).then(() => resolve(undefined));
    });
    await link.publish(topics.joinRequest(join.id, nonce), message, { qos: 1, signal }).catch(error => {
      log.warn('the join request could not be sent', { reason: messageOf(error) });
    });
    const result = await answer;
    if (result?.status === 'accepted') return result;
    if (result?.status === 'refused') throw new MesoliteError('FORBIDDEN', `the master refuses: ${result.reason}`);
    if (result?.status === 'pending') {
      log.info('the join waits for an operator');
      requests = 0;
      await clock.sleep(result.retryAfterMs, signal);
    }
  }
  throw new MesoliteError('TIMED_OUT', 'the master does not answer: is the token right, and still valid?');
}

function readAnswer(payload: Uint8Array, key: Uint8Array, nonce: string, keyId: string): JoinResult | undefined {
  const { body, mac } = decodeJson(joinResponseSchema, payload, 'join response', messageBounds.join);
  // a refusal may come before the master could read the request's key
  const proven = [keyId, ''].some(pin => macEquals(mac, joinResponseMac(key, nonce, pin, body)));
  return proven ? decodeJson(joinResultSchema, body, 'join result', messageBounds.join) : undefined;
}

/** The answer is the master's by its MAC; that it is about this key and this root is checked all the same. */
function checkAccepted(accepted: Accepted, join: JoinString, node: string, keys: KeyPair, now: number): void {
  const bundle = readTrustBundle(accepted.trustDomain, accepted.roots);
  if (!bundle.roots.some(root => sha256Hex(root.raw) === join.rootSha256)) {
    throw new MesoliteError('UNTRUSTED', 'the master gave other roots than the one that the join string names');
  }
  const verified = verifyChain(readCertificates(accepted.chain, 'certificate of this node'), bundle, 'client', { now });
  if (!verified.ok)
    throw new MesoliteError('UNTRUSTED', `the certificate of this node does not hold: ${verified.reason}`);
  const { id } = verified.peer;
  if (id.kind !== 'node' || id.node !== node || keyIdOf(verified.leaf.publicKey) !== keyIdOf(keys.publicKey)) {
    throw new MesoliteError('UNTRUSTED', 'the master gave a certificate for somebody else');
  }
}
