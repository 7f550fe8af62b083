import type { Peer } from '../model/identity.ts';
import { isOwnFilter, parseTopic, topics } from '../model/topics.ts';

/**
 * Who a client is to the broker. One of the role `renewal` is a node whose certificate has expired, and which is let in to renew it: least
 * privilege, though it may be a node again a moment later. A joiner is a stranger who knows the id of a token; its client id is its nonce.
 */
export type Identity =
  | { readonly role: 'master'; readonly clientId: string }
  | { readonly role: 'node'; readonly node: string }
  | { readonly role: 'renewal'; readonly node: string }
  | { readonly role: 'join'; readonly tokenId: string; readonly nonce: string };

/** Why a client was turned away or cut off; each is a counter. */
export const refusalReasons = [
  'no-identity',
  'unknown-token',
  'client-id',
  'session',
  'keepalive',
  'will',
  'capacity',
  'connect-timeout',
  'too-large',
  'slow',
  'memory',
  'rate',
  'publish',
  'subscribe',
  'malformed',
  'keepalive-timeout',
  'revoked',
  'expired',
] as const;
export type RefusalReason = (typeof refusalReasons)[number];

/** A refused CONNECT with its MQTT 3.1.1 return code (3.2.2.3). */
export interface Refusal {
  readonly reason: RefusalReason;
  readonly returnCode: 2 | 3 | 4 | 5;
}

export type Admission = { readonly identity: Identity } | { readonly refusal: Refusal };

/** The last will, with its payload's length alone. */
export interface Will {
  readonly topic: string;
  readonly qos: number;
  readonly retain: boolean;
  readonly payloadBytes: number;
}

/** What a CONNECT packet says. */
export interface ConnectFields {
  readonly clientId: string;
  readonly clean: boolean;
  readonly keepaliveSeconds: number;
  readonly username?: string | undefined;
  readonly will?: Will | undefined;
}

export interface AdmissionRules {
  readonly trustDomain: string;
  /** Milliseconds since 1970: a certificate that has ended by then is no node's, though its chain was forgiven that. */
  readonly now: number;
  readonly maxKeepaliveSeconds: number;
  readonly maxWillBytes: number;
  /** Is the user name the id of a token that may still be used? */
  readonly isTokenKnown: boolean;
}

const clientIdPattern = /^[A-Za-z0-9_-]{1,64}$/;

/** Decides over a CONNECT; `peer` is the verified certificate's, if there is one. */
export function admit(peer: Peer | undefined, connect: ConnectFields, rules: AdmissionRules): Admission {
  if (!connect.clean) return refused('session', 5);
  if (!clientIdPattern.test(connect.clientId)) return refused('client-id', 2);
  // without keep-alive a half-open connection would stay for ever
  const seconds = connect.keepaliveSeconds;
  if (seconds < 1 || seconds > rules.maxKeepaliveSeconds) return refused('keepalive', 5);
  const admission = identify(peer, connect, rules);
  if ('refusal' in admission) return admission;
  return willFits(admission.identity, connect.will, rules) ? admission : refused('will', 5);
}

/** May a message go to `topic`? Nodes and joiners keep no retained message, nobody uses QoS 2. */
export function mayPublish(identity: Identity, topic: string, packet: { qos: number; retain: boolean }): boolean {
  const target = parseTopic(topic);
  if (target === undefined || packet.qos > 1) return false;
  switch (identity.role) {
    case 'master':
      return true;
    case 'node':
      return !packet.retain && target.kind === 'up' && target.node === identity.node;
    case 'renewal':
      return !packet.retain && topic === topics.up(identity.node, 'csr');
    case 'join':
      return !packet.retain && topic === topics.joinRequest(identity.tokenId, identity.nonce);
    default:
      return identity satisfies never;
  }
}

/**
 * Is it to be acknowledged and handed to nobody (3.1.1, MQTT-3.3.5-2)? A node that may only renew does not know that yet, and says what
 * nodes say; all of it is said again on its next connection.
 */
export function isPassedOver(identity: Identity, topic: string, packet: { qos: number; retain: boolean }): boolean {
  return identity.role === 'renewal' && mayPublish({ role: 'node', node: identity.node }, topic, packet);
}

/** May the client listen to `filter`? A node to what is said to it and to all, by name; `$share` fits nowhere. */
export function maySubscribe(identity: Identity, filter: string): boolean {
  switch (identity.role) {
    case 'master':
      return isOwnFilter(filter);
    case 'node':
      return filter === topics.allDown(identity.node) || isForNode(identity.node, filter);
    case 'renewal':
      return filter === topics.down(identity.node, 'ack');
    case 'join':
      return filter === topics.joinResponse(identity.tokenId, identity.nonce);
    default:
      return identity satisfies never;
  }
}

/** The name under which a session is known inside the broker: roles never collide, a node's next connection takes over. */
export function sessionName(identity: Identity): string {
  switch (identity.role) {
    case 'master':
      return `master/${identity.clientId}`;
    case 'node':
      return `node/${identity.node}`;
    case 'renewal':
      return `renewal/${identity.node}`;
    case 'join':
      return `join/${identity.tokenId}/${identity.nonce}`;
    default:
      return identity satisfies never;
  }
}

function identify(peer: Peer | undefined, connect: ConnectFields, rules: AdmissionRules): Admission {
  const { clientId, username } = connect;
  if (peer === undefined) {
    if (username === undefined) return refused('no-identity', 5);
    if (!rules.isTokenKnown || !clientIdPattern.test(username)) return refused('unknown-token', 4);
    return { identity: { role: 'join', tokenId: username, nonce: clientId } };
  }
  if (peer.id.trustDomain !== rules.trustDomain) return refused('no-identity', 5);
  switch (peer.id.kind) {
    case 'master':
      return peer.notAfter > rules.now ? { identity: { role: 'master', clientId } } : refused('expired', 5);
    case 'node':
      if (peer.id.node !== clientId) return refused('client-id', 2);
      return { identity: { role: peer.notAfter > rules.now ? 'node' : 'renewal', node: clientId } };
    case 'workload':
    case 'broker':
    case 'config':
      return refused('no-identity', 5);
    default:
      return peer.id satisfies never;
  }
}

function willFits(identity: Identity, will: Will | undefined, rules: AdmissionRules): boolean {
  if (will === undefined) return true;
  const isNode = identity.role === 'node' || identity.role === 'renewal';
  if (!isNode || will.payloadBytes > rules.maxWillBytes) return false;
  const { node } = identity;
  return will.topic === topics.up(node, 'death') && mayPublish({ role: 'node', node }, will.topic, will);
}

function isForNode(node: string, filter: string): boolean {
  const topic = parseTopic(filter);
  switch (topic?.kind) {
    case 'policy':
    case 'manifest':
    case 'service':
      return true;
    case 'down':
      return topic.node === node;
    default:
      return false;
  }
}

function refused(reason: RefusalReason, returnCode: Refusal['returnCode']): Admission {
  return { refusal: { reason, returnCode } };
}
