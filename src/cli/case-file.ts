import { load } from 'js-yaml';
import { isMesoliteError, MesoliteError, messageOf } from '../base/errors.ts';
import { decode } from '../base/shape.ts';
import {
  type AuthorizationPolicy,
  decodeDocument,
  describeDocument,
  type Findings,
  isPolicyDocument,
  type PolicyDocument,
  type PolicyOf,
} from '../model/document.ts';
import { caseFileSchema, type PolicyCase } from '../model/policy-case.ts';
import { selects } from '../model/selector.ts';
import { maxYamlBytes, parseYaml } from '../model/yaml-text.ts';
import { findIgnored } from '../policy/cases.ts';
import { checkPolicy } from '../policy/check.ts';
import { checkPeerAuthentication } from '../policy/peer-authentication.ts';
import { readFile } from './document-files.ts';

/** A longer file is not read: so much is about 70,000 cases. */
export const maxCaseFileBytes = 16 * 1024 * 1024;

export interface CaseFile {
  readonly policies: readonly AuthorizationPolicy[];
  readonly peerAuthentications: readonly PolicyOf<'PeerAuthentication'>[];
  readonly cases: readonly PolicyCase[];
  /** What hardly means what its author thinks, each a sentence that begins with file and path. */
  readonly warnings: readonly string[];
}

/** Reads a file of policies and cases; throws INVALID_INPUT or TOO_LARGE with file, path and reason of everything that is wrong. */
export function readCaseFile(file: string, rootNamespace: string): CaseFile {
  const content = parse(readFile(file, maxCaseFileBytes), file);
  refuseDocument(content, file);
  const { policies, cases } = decode(caseFileSchema, content, file);
  const problems: string[] = [];
  const warnings = cases.flatMap((each, i) => findIgnored(each).map(ignored => `${file}: cases[${i}].${ignored}`));
  const documents = policies.flatMap((policy, i) => {
    const what = `${file}: policies[${i}]`;
    const document = decodeOr(problems, policy, what);
    if (document === undefined) return [];
    const findings = check(document, cases, rootNamespace);
    problems.push(...findings.errors.map(error => `${what}: ${error}`));
    warnings.push(...findings.warnings.map(warning => `${what}: ${warning}`));
    return [document];
  });
  if (problems.length > 0) throw new MesoliteError('INVALID_INPUT', problems.join('\n'));
  return {
    policies: documents.filter(document => document.kind === 'AuthorizationPolicy'),
    peerAuthentications: documents.filter(document => document.kind === 'PeerAuthentication'),
    cases,
    warnings,
  };
}

/** A file that is for another command. */
function refuseDocument(content: unknown, file: string): void {
  if (typeof content !== 'object' || content === null || !('kind' in content) || 'cases' in content) return;
  throw new MesoliteError(
    'INVALID_INPUT',
    `${file}: expected a file with \`policies\` and \`cases\`, got a document of the kind ${JSON.stringify(content.kind)}`,
  );
}

function decodeOr(problems: string[], value: unknown, what: string): PolicyDocument | undefined {
  try {
    const document = decodeDocument(value, what);
    if (isPolicyDocument(document)) return document;
    problems.push(`${what}: kind: a ${document.kind} is no policy`);
  } catch (error) {
    if (!isMesoliteError(error)) throw error;
    problems.push(error.message);
  }
  return undefined;
}

function check(document: PolicyDocument, cases: readonly PolicyCase[], rootNamespace: string): Findings {
  if (document.kind === 'PeerAuthentication') {
    const { errors } = checkPeerAuthentication(document, { rootNamespace, publishes: new Set() });
    return { errors, warnings: [] };
  }
  if (document.kind !== 'AuthorizationPolicy') {
    return { errors: [], warnings: [`${describeDocument(document)} does not say who may: it changes nothing here`] };
  }
  const servesTcp = cases.some(({ to, request }) => request.protocol === 'tcp' && selects(document, to, rootNamespace));
  return checkPolicy(document, { servesTcp });
}

/** Not by `model/yaml-text.ts`, which is too slow for many thousand cases. */
function parse(text: string, file: string): unknown {
  try {
    return load(text, { maxAliases: 100 });
  } catch (cause) {
    // the other one says better what is wrong, and reads several documents
    const [first, second] = text.length <= maxYamlBytes ? parseYaml(text, file) : [];
    if (second !== undefined) refuseDocument(first?.value, file);
    const reason = second === undefined ? messageOf(cause).split('\n')[0] : 'expected one document, got several';
    throw new MesoliteError('INVALID_INPUT', `${file}: ${reason}`, { cause });
  }
}
