import type { Cell } from '../base/cell.ts';
import { decode } from '../base/shape.ts';
import { type AuthorizationPolicy, decodeDocument } from '../model/document.ts';
import { policyBodySchema } from '../model/message.ts';
import { type CompiledPolicy, compilePolicy } from '../policy/compile.ts';
import type { SignedSlot } from './signed-inbox.ts';

/** What holds until the master has said anything: nobody may do anything. */
export function denyAll(trustDomain: string): CompiledPolicy {
  return compilePolicy({ trustDomain, rootNamespace: 'istio-system', meshDefault: 'deny', revision: 0, policies: [] });
}

/** The policy document: compiled, and in force with one assignment; a request that is under way keeps the one it began with. */
export function policySlot(inForce: Cell<CompiledPolicy>): SignedSlot {
  return {
    kind: 'policy',
    subject: 'all',
    file: 'policy',
    take(body, { revision }) {
      const { documents, ...settings } = decode(policyBodySchema, body, 'policy');
      const policies = documents.map((document, i) => asPolicy(document, `policy document ${i + 1}`));
      inForce.set(compilePolicy({ ...settings, revision, policies }));
    },
  };
}

function asPolicy(sent: unknown, what: string): AuthorizationPolicy {
  const document = decodeDocument(sent, what);
  if (document.kind !== 'AuthorizationPolicy') throw new TypeError(`${what}: a ${document.kind} is no policy`);
  return document;
}
