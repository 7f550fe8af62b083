import * as v from 'valibot';
import type { Cell } from '../base/cell.ts';
import { decode } from '../base/shape.ts';
import type { AgentVersionSpec } from '../model/agent-version.ts';
import {
  decodeDocument,
  describeDocument,
  isPolicyDocument,
  type PolicyDocument,
  type PolicyKind,
  type PolicyOf,
} from '../model/document.ts';
import { type PolicyBody, policyBodySchema } from '../model/message.ts';
import { knownProfile } from '../model/profile.ts';
import { type CompiledPolicy, compilePolicy } from '../policy/compile.ts';
import { type CompiledPeerAuthentication, compilePeerAuthentication } from '../policy/peer-authentication.ts';
import { type CompiledRequestAuthentication, compileRequestAuthentication } from '../policy/request-authentication.ts';
import { compileDestinations, type Destinations } from '../traffic/destinations.ts';
import { type CompiledLimits, compileLimits } from '../traffic/limit.ts';
import { type CompiledRoutes, compileRoutes } from '../traffic/service-routes.ts';
import type { SignedSlot } from './signed-inbox.ts';

/** What holds until the master has said anything: nobody may do anything. */
export function denyAll(trustDomain: string): CompiledPolicy {
  return compilePolicy({ trustDomain, rootNamespace: 'istio-system', meshDefault: 'deny', revision: 0, policies: [] });
}

/** One revision of the policy document: its settings, and its documents by kind. */
export interface PolicySet extends Omit<PolicyBody, 'documents' | 'rollout'> {
  readonly revision: number;
  of<Kind extends PolicyKind>(kind: Kind): PolicyOf<Kind>[];
}

/** Makes of the documents what one part of the proxy asks; throws when they cannot be used. The result swaps it in. */
export type PolicyCompiler = (policies: PolicySet) => Promise<() => void>;

/** Compiles into a cell, so that it is in force with one assignment; a request that is under way keeps the one it began with. */
export function compileInto<T>(cell: Cell<T>, compile: (policies: PolicySet) => T | Promise<T>): PolicyCompiler {
  return async policies => {
    const compiled = await compile(policies);
    return () => cell.set(compiled);
  };
}

/** The AuthorizationPolicies of a set. */
export function authorizationOf({ of, ...settings }: PolicySet): CompiledPolicy {
  return compilePolicy({ ...settings, policies: of('AuthorizationPolicy') });
}

/** The DestinationRules of a set. */
export function destinationsOf({ of, rootNamespace }: PolicySet): Destinations {
  return compileDestinations(of('DestinationRule'), rootNamespace);
}

/** The PeerAuthentications of a set. */
export function peerAuthenticationOf({ of, rootNamespace }: PolicySet): CompiledPeerAuthentication {
  return compilePeerAuthentication(of('PeerAuthentication'), rootNamespace);
}

/** The RequestAuthentications of a set, with the keys that the master fetched for them. */
export function requestAuthenticationOf({ of, rootNamespace, keySets }: PolicySet): CompiledRequestAuthentication {
  const fetched = new Map(keySets.map(({ uri, keys }) => [uri, keys]));
  return compileRequestAuthentication(of('RequestAuthentication'), rootNamespace, uri => fetched.get(uri));
}

/** The RateLimits of a set. */
export function limitsOf({ of, rootNamespace }: PolicySet): CompiledLimits {
  return compileLimits(of('RateLimit'), rootNamespace);
}

/** Which version of the agent the nodes are to run; the installed one where nothing is said. */
export function agentVersionOf({ of }: PolicySet): AgentVersionSpec | undefined {
  return of('AgentVersion')[0]?.spec;
}

/** The VirtualServices of a set. The engine of regular expressions is loaded only where there is one. */
export async function routesOf({ of }: PolicySet): Promise<CompiledRoutes> {
  const documents = of('VirtualService');
  return compileRoutes(documents, hasRegex(documents) ? (await import('../traffic/regex.ts')).compileRegex : noRegex);
}

function hasRegex(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).some(([key, child]) => key === 'regex' || key === 'uriRegexRewrite' || hasRegex(child));
}

function noRegex(pattern: string): never {
  throw new TypeError(`the regular expression ${pattern} was not looked for`);
}

/** The policy document as it is for `node`: all that is made of it is in force in one turn, or nothing of it. */
export function policySlot(
  compilers: readonly PolicyCompiler[],
  parts: {
    readonly node: string;
    /** Hears which rollout's changes are in force from now on, if any. */
    readonly onRollout: (rollout: string | undefined) => void;
  },
): SignedSlot {
  let rollout: string | undefined;
  return {
    kind: 'policy',
    subject: 'all',
    file: 'policy',
    remark: () => ({ rollout }),
    async take(body, { revision }) {
      const { documents: sent, rollout: offered, ...settings } = decode(policyBodySchema, body, 'policy');
      const stable = sent.map((document, i) => asPolicy(document, `policy document ${i + 1}`));
      const own = offered?.nodes === undefined || offered.nodes.includes(parts.node) ? offered : undefined;
      const documents = own === undefined ? stable : changedBy(own, stable);
      const policies: PolicySet = { ...settings, revision, of: kind => documents.filter(isOf(kind)) };
      const swaps = await Promise.all(compilers.map(compile => compile(policies)));
      for (const swap of swaps) swap();
      rollout = own?.name;
      parts.onRollout(rollout);
    },
  };
}

/** What a rollout makes of the documents that hold elsewhere. */
function changedBy(
  { name, put, remove }: NonNullable<PolicyBody['rollout']>,
  documents: readonly PolicyDocument[],
): PolicyDocument[] {
  const added = put.map((document, i) => asPolicy(document, `document ${i + 1} of rollout ${name}`));
  const gone = new Set([
    ...added.map(describeDocument),
    ...remove.map(({ kind, namespace, name }) => `${kind} ${namespace}/${name}`),
  ]);
  return [...documents.filter(document => !gone.has(describeDocument(document))), ...added];
}

const profileShape = v.looseObject({ kind: v.literal('Profile'), spec: v.unknown() });

/**
 * A fleet's master is upgraded first. What only a newer one knows of a profile is left out, rather than all policies for it; in anything else it is
 * refused, for there it may be what forbids a call.
 */
function asPolicy(sent: unknown, what: string): PolicyDocument {
  const isProfile = v.is(profileShape, sent);
  const document = decodeDocument(isProfile ? { ...sent, spec: knownProfile(sent.spec) } : sent, what);
  if (!isPolicyDocument(document)) throw new TypeError(`${what}: a ${document.kind} is no policy`);
  return document;
}

function isOf<Kind extends PolicyKind>(kind: Kind) {
  return (document: PolicyDocument): document is PolicyDocument & PolicyOf<Kind> => document.kind === kind;
}
