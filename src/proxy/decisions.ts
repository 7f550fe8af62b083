import type { Buffer } from 'node:buffer';
import { LRUCache } from 'lru-cache';
import type { Cell } from '../base/cell.ts';
import {
  type AuthorizationRequest,
  ruleText,
  type Shadow,
  type Verdict,
  type WorkloadIdentity,
} from '../model/policy.ts';
import { authorize } from '../policy/authorize.ts';
import type { CompiledPolicy, WorkloadPolicy } from '../policy/compile.ts';
import { normalizePath } from '../policy/normalize-path.ts';
import { authorizeInShadow } from '../policy/shadow.ts';
import { type FieldsRead, fieldsRead, hashBytes, hashText, holds, KeyOfFields, maxKeyLength } from './decision-key.ts';
import { accessDenied, badPath, type LocalAnswer } from './respond.ts';
import { countShadow, type Tallies, type Tally } from './tallies.ts';
import type { Proof } from './tokens/tokens.ts';
import { fieldNamed, valueText } from './wire/fields.ts';
import type { Head } from './wire/head.ts';

/** What of a request stays the same for all requests of a connection to one workload. */
export interface Asking {
  readonly identity: WorkloadIdentity;
  readonly principal: string | undefined;
  readonly sourceIp: string;
  readonly destinationIp: string;
  readonly destinationPort: number;
  readonly serverName: string | undefined;
}

/** The policy that holds for a connection at the moment; asked again after a swap. */
export interface Scope {
  readonly asking: Asking;
  readonly compiled: CompiledPolicy;
  readonly policy: WorkloadPolicy;
  /** What beside the request's own texts the verdict depends on. */
  readonly key: string;
  readonly seed: number;
  readonly reads: FieldsRead;
  /** Of the policies that decide nothing; absent when there is none. */
  readonly tallies: readonly Tally[] | undefined;
}

/** A verdict with the request's texts, which are read once for many like requests. */
export interface Decision {
  readonly allow: boolean;
  /** What to say when it is not allowed. */
  readonly answer: LocalAnswer | undefined;
  /** `<namespace>/<policy>#<rule index>`, or the reason where no policy spoke. */
  readonly rule: string;
  readonly shadow: Shadow | undefined;
  readonly method: string;
  readonly host: string;
  /** Normalised as the policy saw it, without query: this is what goes on. */
  readonly path: string;
  readonly pathChanged: boolean;
}

/** Given each time, for the cache would make an object of its own. */
const plainly = {};

/** A decision and the request that it is for. */
class Remembered {
  readonly decision: Decision;
  readonly #scopeKey: string;
  readonly #fields: Uint8Array;
  /** Method and target without query, then the Host header. */
  readonly #line: Uint8Array;
  readonly #host: Uint8Array;

  constructor(decision: Decision, scope: Scope, head: Head, bytes: Buffer, fields: KeyOfFields) {
    this.decision = decision;
    this.#scopeKey = scope.key;
    this.#fields = fields.bytes.slice(0, fields.length);
    this.#line = new Uint8Array(bytes.subarray(head.start, head.queryStart));
    this.#host = new Uint8Array(bytes.subarray(head.valueStart[head.host], head.valueEnd[head.host]));
  }

  isFor(scope: Scope, head: Head, bytes: Buffer, fields: KeyOfFields): boolean {
    return (
      this.#scopeKey === scope.key &&
      holds(fields.bytes, 0, fields.length, this.#fields) &&
      holds(bytes, head.start, head.queryStart, this.#line) &&
      holds(bytes, head.valueStart[head.host] ?? 0, head.valueEnd[head.host] ?? 0, this.#host)
    );
  }
}

/**
 * Asks the policy, and remembers what it said: by policy, principal, method, host, path without query, and what else the
 * rules read. They are found again by the bytes as they came, without a text made of them; where two requests have one hash, the
 * later is remembered. The memory belongs to one compiled policy and goes with it.
 */
export class Decisions {
  readonly #policy: Cell<CompiledPolicy>;
  readonly #tallies: Tallies;
  readonly #maxEntries: number;
  #compiled: CompiledPolicy | undefined;
  /** Made for the first request: it takes its place in memory at once. */
  #cache: LRUCache<number, Remembered> | undefined;
  readonly #fields = new KeyOfFields();
  #serials = new WeakMap<WorkloadPolicy, number>();
  #nextSerial = 0;

  constructor(policy: Cell<CompiledPolicy>, tallies: Tallies, maxEntries: number) {
    this.#policy = policy;
    this.#tallies = tallies;
    this.#maxEntries = maxEntries;
  }

  /** Is `scope` still what holds? */
  isCurrent(scope: Scope): boolean {
    return scope.compiled === this.#policy.value;
  }

  scopeOf(asking: Asking): Scope {
    const compiled = this.#policy.value;
    const policy = compiled.forWorkload(asking.identity);
    const parts = [this.#serialOf(policy), asking.destinationPort, asking.principal ?? ''];
    if (policy.readsSourceIp || policy.readsRemoteIp) parts.push(asking.sourceIp);
    if (policy.readsDestinationIp) parts.push(asking.destinationIp);
    if (policy.readsServerName) parts.push(asking.serverName ?? '');
    const key = parts.join(' ');
    const seed = hashText(0x811c9dc5 | 0, key);
    const reads = fieldsRead(policy.headersRead, policy.readsClaims);
    return { asking, compiled, policy, key, seed, reads, tallies: this.#talliesOf(policy) };
  }

  /** Decides about a connection of which nothing but its ends is known: Istio's rules for TCP. Not remembered, for it is asked once. */
  decideConnection(asking: Asking): { readonly verdict: Verdict; readonly shadow: Shadow | undefined } {
    const { principal, sourceIp, destinationIp, destinationPort, serverName } = asking;
    const policy = this.#policy.value.forWorkload(asking.identity);
    const request: AuthorizationRequest = {
      protocol: 'tcp',
      principal,
      sourceIp,
      remoteIp: sourceIp,
      destinationIp,
      destinationPort,
      serverName,
    };
    const verdict = authorize(policy, request);
    const shadow = authorizeInShadow(policy, request, verdict);
    const tallies = this.#talliesOf(policy);
    if (tallies !== undefined) countShadow(tallies, shadow);
    return { verdict, shadow };
  }

  /** Decides the request in `head`; `scope` must be current. `proof` is absent where nobody asks for tokens. */
  decide(scope: Scope, head: Head, bytes: Buffer, proof?: Proof): Decision {
    if (scope.compiled !== this.#compiled) {
      this.#compiled = scope.compiled;
      this.#cache = undefined;
    }
    this.#cache ??= new LRUCache({ max: this.#maxEntries });
    const fields = this.#fields;
    fields.write(scope.reads, head, bytes, proof);
    const hostStart = head.valueStart[head.host] ?? 0;
    const hostEnd = head.valueEnd[head.host] ?? 0;
    let hash = hashBytes(scope.seed, bytes, head.start, head.queryStart);
    hash = hashBytes(hash, bytes, hostStart, hostEnd);
    hash = hashBytes(hash, fields.bytes, 0, fields.length);
    const known = this.#cache.get(hash, plainly);
    if (known?.isFor(scope, head, bytes, fields) === true) return known.decision;
    const decision = decide(scope, head, bytes, hostOf(head, bytes), proof);
    const length = head.queryStart - head.start + hostEnd - hostStart + fields.length;
    if (length < maxKeyLength) this.#cache.set(hash, new Remembered(decision, scope, head, bytes, fields));
    return decision;
  }

  #talliesOf({ watched }: WorkloadPolicy): readonly Tally[] | undefined {
    if (watched.length === 0) return undefined;
    return watched.map(({ policy, id }) => this.#tallies.of({ kind: 'AuthorizationPolicy', policy, id }));
  }

  #serialOf(policy: WorkloadPolicy): number {
    const known = this.#serials.get(policy);
    if (known !== undefined) return known;
    this.#serials.set(policy, ++this.#nextSerial);
    return this.#nextSerial;
  }
}

/** What the proxy alone writes is as it writes it, whatever the client sent under that name. */
function headerOf(head: Head, bytes: Buffer, name: string, proof: Proof | undefined): string | undefined {
  return proof?.names.has(name) === true ? proof.outputs.get(name) : fieldNamed(head, bytes, name);
}

function decide({ asking, policy }: Scope, head: Head, bytes: Buffer, host: string, proof?: Proof): Decision {
  const method = bytes.toString('latin1', head.start, head.methodEnd);
  const raw = pathOf(head, bytes);
  const request: AuthorizationRequest = {
    protocol: 'http',
    principal: asking.principal,
    sourceIp: asking.sourceIp,
    // no forwarding header is believed, whoever writes it
    remoteIp: asking.sourceIp,
    destinationIp: asking.destinationIp,
    destinationPort: asking.destinationPort,
    serverName: asking.serverName,
    method,
    host,
    path: raw,
    header: name => headerOf(head, bytes, name, proof),
    claims: proof?.claims,
  };
  const verdict = authorize(policy, request);
  const path = normalizePath(raw, policy.pathNormalization) ?? raw;
  return {
    allow: verdict.allow,
    answer: verdict.allow ? undefined : verdict.reason === 'bad-path' ? badPath : accessDenied,
    rule: ruleText(verdict),
    shadow: authorizeInShadow(policy, request, verdict),
    method,
    host,
    path,
    pathChanged: path !== raw,
  };
}

/** The authority of an absolute-form target, which then counts instead of the Host header (RFC 9112 section 3.2.2). */
function hostOf(head: Head, bytes: Buffer): string {
  return head.authorityEnd > head.authorityStart
    ? bytes.toString('latin1', head.authorityStart, head.authorityEnd)
    : valueText(head, bytes, head.host);
}

/** The path without query; `/` where an absolute-form target has none. */
export function pathOf(head: Head, bytes: Buffer): string {
  return head.queryStart > head.pathStart ? bytes.toString('latin1', head.pathStart, head.queryStart) : '/';
}
