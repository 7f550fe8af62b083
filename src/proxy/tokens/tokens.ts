import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Cell } from '../../base/cell.ts';
import type { WorkloadIdentity } from '../../model/policy.ts';
import { type Claims, claimAt } from '../../policy/claims.ts';
import type { CompiledRequestAuthentication, TokenRule, TokenRules } from '../../policy/request-authentication.ts';
import { fieldOf, word } from '../wire/fields.ts';
import type { Head } from '../wire/head.ts';
import { method, traitsOf } from '../wire/methods.ts';
import { type FoundToken, findTokens, maxTokens } from './places.ts';
import type { TokenFailure } from './refusals.ts';
import type { VerifiedToken } from './verify-token.ts';

/** A longer token is refused before anything is worked out. */
export const maxTokenBytes = 8 * 1024;
/** Verified tokens that are remembered, and how long they may be together: those unused longest go. */
export const maxKnownTokens = 1024;
export const maxKnownBytes = 1024 * 1024;
/** Tokens that are being verified; a request that comes on top is answered with 503. */
export const maxVerifying = 256;

/** What a request's tokens say: all of them are good, or there is none. */
export interface Proof {
  /** Of its tokens, in their order: tells proofs apart in the keys of decisions. */
  readonly serials: readonly number[];
  readonly claims: Claims | undefined;
  /** In lower case: the headers that say what a token says, and nothing else may. */
  readonly names: ReadonlySet<string>;
  /** Those that the application gets, by lower-case name, and as lines. */
  readonly outputs: ReadonlyMap<string, string>;
  readonly outputLines: string;
}

/** The tokens of a request, all of them good. */
export interface Proven {
  readonly proof: Proof;
  /** Those that the application does not get. */
  readonly hidden: readonly FoundToken[];
}

export type TokenAnswer = Proven | { readonly failure: TokenFailure };

interface Known {
  readonly verified: VerifiedToken;
  readonly proof: Proof;
}

/** What is asked of the requests of one connection, until a policy is swapped. */
export interface StandingTokens {
  readonly compiled: CompiledRequestAuthentication;
  /** Undefined when nobody asks for tokens. */
  readonly rules: TokenRules | undefined;
  /** The answer to a request without tokens. */
  readonly none: Proven;
}

const noNames: ReadonlySet<string> = new Set();
const origin = word('origin');
const requestMethod = word('access-control-request-method');

/**
 * Finds and judges the tokens of requests. What was verified is remembered by policy, place and hash of the token, and counts no longer
 * than the token itself. The memory belongs to one compiled policy and goes with it; the verifier is loaded with the first token.
 */
export class Tokens {
  readonly #compiled: Cell<CompiledRequestAuthentication>;
  readonly #time: () => number | undefined;
  #known = newMemory();
  #of: CompiledRequestAuthentication | undefined;
  #serials = new WeakMap<object, number>();
  #nextSerial = 0;
  readonly #verifying = new Map<string, Promise<TokenFailure | undefined>>();

  /** `time` is milliseconds since 1970, or undefined while nobody can say. */
  constructor(compiled: Cell<CompiledRequestAuthentication>, time: () => number | undefined) {
    this.#compiled = compiled;
    this.#time = time;
  }

  isCurrent({ compiled }: StandingTokens): boolean {
    return compiled === this.#compiled.value;
  }

  standingOf(workload: WorkloadIdentity): StandingTokens {
    const compiled = this.#compiled.value;
    const rules = compiled.forWorkload(workload);
    const proof = {
      serials: [],
      claims: undefined,
      names: rules?.outputs ?? noNames,
      outputs: new Map(),
      outputLines: '',
    };
    return { compiled, rules, none: { proof, hidden: [] } };
  }

  /**
   * A promise tells why a token is bad; or undefined, and then one asks again. Any bad token among several refuses the request; of several good ones the first speaks,
   * in the order of the rules.
   */
  check(rules: TokenRules, none: Proven, head: Head, bytes: Buffer): TokenAnswer | Promise<TokenFailure | undefined> {
    // a browser asks without credentials, and refuses the page when it is refused
    if (isPreflight(head, bytes)) return none;
    const found = findTokens(rules, head, bytes);
    if (found.length === 0) return none;
    if (found.length > maxTokens || found.some(({ token }) => token.length > maxTokenBytes))
      return { failure: 'too-large' };
    this.#forgetOld();
    const now = this.#time();
    const proofs: Proof[] = [];
    const hidden: FoundToken[] = [];
    for (const one of found) {
      const { token, place } = one;
      const key = this.#keyOf(place, token);
      const known = this.#known.get(key);
      if (known === undefined || !isCurrent(known.verified, now))
        return this.#verify(key, token, place.rules, rules.outputs, now);
      proofs.push(known.proof);
      if (!known.verified.rule.forward) hidden.push(one);
    }
    return proofs[0] === undefined ? none : { proof: merged(proofs[0], proofs), hidden };
  }

  #forgetOld(): void {
    if (this.#of === this.#compiled.value) return;
    this.#of = this.#compiled.value;
    this.#known = newMemory();
  }

  #keyOf(place: object, token: string): string {
    let serial = this.#serials.get(place);
    if (serial === undefined) {
      serial = ++this.#nextSerial;
      this.#serials.set(place, serial);
    }
    return `${serial} ${createHash('sha256').update(token, 'latin1').digest('base64')}`;
  }

  #verify(
    key: string,
    token: string,
    rules: readonly TokenRule[],
    names: ReadonlySet<string>,
    now: number | undefined,
  ): TokenAnswer | Promise<TokenFailure | undefined> {
    const underWay = this.#verifying.get(key);
    if (underWay !== undefined) return underWay;
    if (this.#verifying.size >= maxVerifying) return { failure: 'busy' };
    const memory = this.#known;
    const work = verifyLazily(token, rules, now)
      .then(verified => {
        if (typeof verified === 'string') return verified;
        memory.set(key, { verified, proof: this.#proofOf(verified, token, names) }, { size: token.length });
        return undefined;
      })
      .catch(() => 'busy' as const)
      .finally(() => this.#verifying.delete(key));
    this.#verifying.set(key, work);
    return work;
  }

  #proofOf({ rule, claims }: VerifiedToken, token: string, names: ReadonlySet<string>): Proof {
    const outputs = new Map<string, string>();
    if (rule.payloadHeader !== undefined) outputs.set(rule.payloadHeader, token.split('.')[1] ?? '');
    for (const { header, claim } of rule.claimHeaders) {
      const text = headerText(claimAt(claims, [claim]) ?? claimAt(claims, claim.split('.')));
      if (text !== undefined) outputs.set(header, text);
    }
    return { serials: [++this.#nextSerial], claims, names, outputs, outputLines: linesOf(outputs) };
  }
}

function newMemory(): LRUCache<string, Known> {
  return new LRUCache({ max: maxKnownTokens, maxSize: maxKnownBytes });
}

async function verifyLazily(token: string, rules: readonly TokenRule[], now: number | undefined) {
  const { verifyToken } = await import('./verify-token.ts');
  return verifyToken(token, rules, now);
}

/** Takes a client's own values of what the proxy alone may write out of a request, also in the spelling that CGI makes the same. */
export function dropForged({ outputs }: TokenRules, head: Head, bytes: Buffer): void {
  if (outputs.size === 0) return;
  for (let i = 0; i < head.count; i++) {
    const name = bytes.toString('latin1', head.nameStart[i], head.nameEnd[i]).toLowerCase();
    if (outputs.has(name) || (name.includes('_') && outputs.has(name.replaceAll('_', '-')))) head.drop(i);
  }
}

function isCurrent({ notBefore, notAfter }: VerifiedToken, now: number | undefined): boolean {
  if (now === undefined) return notBefore === 0 && notAfter === Number.POSITIVE_INFINITY;
  return notBefore <= now && now < notAfter;
}

function merged(first: Proof, proofs: readonly Proof[]): Proof {
  if (proofs.length === 1) return first;
  const outputs = new Map([...proofs].reverse().flatMap(proof => [...proof.outputs]));
  return { ...first, serials: proofs.flatMap(({ serials }) => serials), outputs, outputLines: linesOf(outputs) };
}

function linesOf(outputs: ReadonlyMap<string, string>): string {
  return [...outputs].map(([name, value]) => `${name}: ${value}\r\n`).join('');
}

/** A claim as a header: texts, numbers and truth values as they are, lists and objects as base64 of JSON (Envoy, jwt_authn); else none. */
function headerText(value: unknown): string | undefined {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (typeof value === 'object' && value !== null) return Buffer.from(JSON.stringify(value)).toString('base64');
  // a line break would begin another header
  if (typeof value !== 'string' || /\p{Cc}/u.test(value)) return undefined;
  return Buffer.from(value, 'utf8').toString('latin1');
}

/** As Envoy tells them: OPTIONS with both headers of the CORS protocol. */
function isPreflight(head: Head, bytes: Buffer): boolean {
  if ((traitsOf(bytes, head) & method.options) === 0) return false;
  return (fieldOf(head, bytes, origin) ?? '') !== '' && (fieldOf(head, bytes, requestMethod) ?? '') !== '';
}
