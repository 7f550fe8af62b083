import type { Buffer } from 'node:buffer';
import type { Peer } from '../model/identity.ts';
import { type AccessLog, newFacts } from './access-log.ts';
import type { Counters } from './counters.ts';
import { type Asking, type Decision, type Decisions, pathOf, type Scope } from './decisions.ts';
import type { Limits, StandingLimits } from './limits.ts';
import type { RequestIds } from './request-ids.ts';
import { type LocalAnswer, notPlain, notReady, noWorkload, refusedLine } from './respond.ts';
import { countShadow } from './tallies.ts';
import { dropFromHeaders, type FoundToken, queryWithout } from './tokens/places.ts';
import { answerToken, type TokenFailure } from './tokens/refusals.ts';
import { dropForged, type Proven, type StandingTokens, type Tokens } from './tokens/tokens.ts';
import type { Applications } from './upstream/applications.ts';
import type { Admission, Exchange, Pipeline, Target } from './wire/exchange.ts';
import { dropAlike, fieldOf, valueText, word } from './wire/fields.ts';
import type { Head } from './wire/head.ts';
import type { LocalWorkload, Served, WorkloadIndex } from './workload.ts';

// Read this first. A request to a workload of this node goes this way:
//
//   listener           accepts mutual TLS: SNI says which workload is meant, the client's certificate says who asks;
//                      or a published port does, as PeerAuthentication says (published.ts)
//   wire/downstream    reads the request head (wire/parse), strictly, and hands it to `admit` below
//   admit              1. whom is it for?  2. are its tokens good?  3. may the caller?  4. not too often?  5. where does it go?
//                      6. what is the application told?
//   wire/forward       takes a connection from upstream/pool, sends the request, relays the response (wire/response-relay)
//   account            counts it, and hands out its access record
//
// Whatever fails on the way is answered from respond.ts. The other direction, from a task to a service, is the same with
// egress/outbound.ts as its pipeline, where a VirtualService may say what becomes of it (egress/routing.ts).

export interface InboundParts {
  readonly decisions: Decisions;
  readonly tokens: Tokens;
  readonly limits: Limits;
  readonly applications: Applications;
  readonly accessLog: AccessLog;
  readonly counters: Counters;
  readonly requestIds: RequestIds;
  /** The workloads as they are now. */
  readonly workloads: () => WorkloadIndex;
}

/** A client's connection as it came about. */
export interface InboundConnection {
  /** Whom it is for, among the workloads as they are now. */
  readonly find: (index: WorkloadIndex) => Served | undefined;
  readonly serverName: string | undefined;
  /** Absent: the client showed no certificate, as it may on a published port. */
  readonly peer: Peer | undefined;
  /** Of a published port, whose clients are outside of the mesh: what is spoken there. */
  readonly outside: 'http' | 'https' | undefined;
  /** Of a client that speaks without TLS: is that still allowed? */
  readonly mayBePlain?: () => boolean;
  readonly sourceIp: string;
  readonly localIp: string;
}

/** What of a connection to a workload the policy is asked about. */
export function askingOf(
  { peer, sourceIp, localIp, serverName }: InboundConnection,
  { identity }: LocalWorkload,
  port: number,
): Asking {
  const principal = peer?.principal;
  return { identity, principal, sourceIp, destinationIp: localIp, destinationPort: port, serverName };
}

/** What holds for the requests of a connection until a workload or the policy is swapped. */
interface Standing {
  readonly index: WorkloadIndex;
  readonly workload: LocalWorkload;
  readonly scope: Scope;
  readonly tokens: StandingTokens;
  readonly limits: StandingLimits;
  readonly target: Target;
  /** The header line that tells the application who calls. */
  readonly clientCertificate: string;
}

/** The steps of one connection's requests. */
export class InboundPipeline implements Pipeline {
  readonly source: string;
  readonly #parts: InboundParts;
  readonly #connection: InboundConnection;
  readonly #facts;
  #standing: Standing | undefined;

  constructor(parts: InboundParts, connection: InboundConnection) {
    this.#parts = parts;
    this.#connection = connection;
    this.source = connection.peer?.principal ?? connection.sourceIp;
    this.#facts = newFacts('inbound', connection.sourceIp);
    this.#facts.source = connection.peer?.principal ?? '-';
  }

  admit(exchange: Exchange, head: Head, bytes: Buffer): Admission {
    const standing = this.#identify(exchange.startedAt);
    if (standing === undefined) return this.#unserved(head, bytes);
    if (this.#connection.mayBePlain?.() === false) {
      this.#noteUndecided('peer-authentication', head, bytes);
      return notPlain;
    }
    const { rules, none } = standing.tokens;
    if (rules === undefined) return this.#authorize(standing, undefined, exchange, head, bytes);
    const checked = this.#parts.tokens.check(rules, none, head, bytes);
    if (checked instanceof Promise) {
      this.#noteUndecided('token-unverified', head, bytes);
      return checked.then(failure => (head, bytes) => {
        if (failure !== undefined) return this.#refuseToken(failure, head, bytes);
        return this.admit(exchange, head, bytes);
      });
    }
    if ('failure' in checked) return this.#refuseToken(checked.failure, head, bytes);
    dropForged(rules, head, bytes);
    return this.#authorize(standing, checked, exchange, head, bytes);
  }

  /** `proven` is absent where nobody asks for tokens. */
  #authorize(
    standing: Standing,
    proven: Proven | undefined,
    exchange: Exchange,
    head: Head,
    bytes: Buffer,
  ): LocalAnswer | undefined {
    const decision = this.#parts.decisions.decide(standing.scope, head, bytes, proven?.proof);
    this.#note(decision, head, bytes);
    if (standing.scope.tallies !== undefined) countShadow(standing.scope.tallies, decision.shadow);
    if (decision.answer !== undefined) return decision.answer;
    const { limits } = standing;
    if (limits.limits.length > 0) {
      const limited = this.#parts.limits.take(limits, exchange, this.#facts, head, bytes);
      if (limited !== undefined) return limited;
    }
    exchange.target = standing.target;
    if (this.#connection.outside === undefined) exchange.refusalLine = refusedLine;
    this.#rewrite(exchange, standing, decision, proven, head, bytes);
    return undefined;
  }

  account(exchange: Exchange): void {
    this.#parts.accessLog.record(exchange, this.#facts);
  }

  refused(answer: LocalAnswer): void {
    this.#parts.accessLog.recordRefused(answer, this.#facts);
  }

  /** 1. The workload that the server name means, with its policy: the ones that hold now; undefined when it has gone. */
  #identify(now: number): Standing | undefined {
    const index = this.#parts.workloads();
    const known = this.#standing;
    const { decisions, tokens, limits } = this.#parts;
    if (
      known?.index === index &&
      decisions.isCurrent(known.scope) &&
      tokens.isCurrent(known.tokens) &&
      limits.isCurrent(known.limits)
    ) {
      return known;
    }
    this.#standing = this.#stand(index, now);
    return this.#standing;
  }

  #stand(index: WorkloadIndex, now: number): Standing | undefined {
    const { find, peer } = this.#connection;
    const facts = this.#facts;
    const { workload, application, port } = find(index) ?? nobody;
    facts.destination = workload?.spiffeId.slice('spiffe://'.length) ?? '-';
    facts.task = workload?.task ?? '-';
    facts.series = this.#parts.counters.series('inbound', application?.service ?? '-', facts.source);
    if (workload === undefined || application === undefined) return undefined;
    const scope = this.#parts.decisions.scopeOf(askingOf(this.#connection, workload, port));
    const target = this.#parts.applications.targetOf(application);
    const tokens = this.#parts.tokens.standingOf(workload.identity);
    const limits = this.#parts.limits.standingOf(workload, this.source, peer !== undefined, now);
    return {
      index,
      workload,
      scope,
      tokens,
      limits,
      target,
      clientCertificate: peer === undefined ? '' : clientCertificateLine(workload, peer),
    };
  }

  #unserved(head: Head, bytes: Buffer): LocalAnswer {
    this.#noteUndecided('no-workload', head, bytes);
    return this.#connection.outside === undefined ? noWorkload : notReady;
  }

  #refuseToken(failure: TokenFailure, head: Head, bytes: Buffer): LocalAnswer {
    this.#noteUndecided(`token-${failure}`, head, bytes);
    const { host, path } = this.#facts;
    const scheme = this.#connection.outside ?? 'http';
    return answerToken(failure, `${scheme}://${host}${path.slice(0, maxRealmPath)}`);
  }

  /** What the record says of a request that no policy was asked about. */
  #noteUndecided(rule: string, head: Head, bytes: Buffer): void {
    const facts = this.#facts;
    facts.method = bytes.toString('latin1', head.start, head.methodEnd);
    facts.host = valueText(head, bytes, head.host);
    facts.path = pathOf(head, bytes);
    facts.allow = false;
    facts.rule = rule;
    facts.shadow = undefined;
    facts.requestId = head.requestId < 0 ? '-' : valueText(head, bytes, head.requestId);
  }

  /** 3. What was decided, for the access record. */
  #note(decision: Decision, head: Head, bytes: Buffer): void {
    const facts = this.#facts;
    facts.method = decision.method;
    facts.host = decision.host;
    facts.path = decision.path;
    facts.allow = decision.allow;
    facts.rule = decision.rule;
    facts.shadow = decision.shadow;
    facts.requestId = head.requestId < 0 ? this.#parts.requestIds.next() : valueText(head, bytes, head.requestId);
  }

  /** 6. The application hears who calls, never what the caller claims to be; and the path that the policy saw. */
  #rewrite(
    exchange: Exchange,
    standing: Standing,
    decision: Decision,
    proven: Proven | undefined,
    head: Head,
    bytes: Buffer,
  ): void {
    exchange.additions =
      head.requestId < 0
        ? `${standing.clientCertificate}x-request-id: ${this.#facts.requestId}\r\n`
        : standing.clientCertificate;
    const { outside, sourceIp } = this.#connection;
    if (outside !== undefined) exchange.additions += forwardedLines(head, bytes, sourceIp, outside);
    const absolute = head.authorityEnd > head.authorityStart;
    if (absolute) {
      head.drop(head.host);
      exchange.additions += `host: ${decision.host}\r\n`;
    }
    const hidden = proven?.hidden ?? noneHidden;
    if (proven !== undefined) exchange.additions += proven.proof.outputLines + dropFromHeaders(hidden, head, bytes);
    if (absolute || decision.pathChanged || head.minor === 0 || hidden.some(({ header }) => header < 0)) {
      const query = queryWithout(hidden, bytes.toString('latin1', head.queryStart, head.pathEnd));
      exchange.startLine = `${decision.method} ${decision.path}${query} HTTP/1.1`;
    }
  }
}

/** Envoy's bound on what it names as the realm. */
const maxRealmPath = 256;
const noneHidden: readonly FoundToken[] = [];
const forwardedFor = word('x-forwarded-for');
const lettersOfFor = word('xforwardedfor');
const lettersOfProto = word('xforwardedproto');
const nobody: Partial<Served> & Pick<Served, 'port'> = { port: 0 };

/**
 * `x-forwarded-for` and `x-forwarded-proto` as Envoy writes them at an edge: the first is added to, the second is not believed.
 * Other spellings go, for some application servers fold them to the real one.
 */
function forwardedLines(head: Head, bytes: Buffer, sourceIp: string, scheme: string): string {
  const before = fieldOf(head, bytes, forwardedFor);
  dropAlike(head, bytes, lettersOfFor);
  dropAlike(head, bytes, lettersOfProto);
  const addresses = before === undefined ? sourceIp : `${before},${sourceIp}`;
  return `x-forwarded-for: ${addresses}\r\nx-forwarded-proto: ${scheme}\r\n`;
}

/** `x-forwarded-client-cert` as Envoy writes it with `forward_client_cert_details: SANITIZE_SET`, subject and URI. */
function clientCertificateLine(workload: LocalWorkload, peer: Peer): string {
  return `x-forwarded-client-cert: By=${workload.spiffeId};Hash=${peer.sha256};Subject="";URI=${peer.uri}\r\n`;
}
