import type { X509Certificate } from 'node:crypto';
import * as v from 'valibot';
import { type Authority, makeAuthority } from './authority.ts';
import { generationSchema } from './authority-state.ts';
import { readCertificate } from './certificate.ts';
import type { AuthoritySettings } from './root.ts';

/** A generation with the moment from which it issues, in milliseconds since 1970; null while it is only announced. */
export const storedGenerationSchema = v.object({ ...generationSchema.entries, usedFrom: v.nullable(v.number()) });

export type Generation = Readonly<v.InferOutput<typeof storedGenerationSchema>>;

/** A generation that is open for use. */
export interface OpenGeneration {
  readonly state: Generation;
  readonly authority: Authority;
  readonly root: X509Certificate;
  readonly issuing: X509Certificate;
  readonly config: X509Certificate;
}

/** Which of several generations does what. */
export interface Roles {
  /** Issues certificates: the newest that may. */
  readonly issuing: OpenGeneration;
  /** Signs configuration: the oldest that is not near its end, for who was away knows the older key. */
  readonly signing: OpenGeneration;
}

/** A signer hands over when so much of its life is left. */
const lastPart = 1 / 12;

/** Opens generations, oldest first; throws INVALID_INPUT for one that does not fit together. */
export function openGenerations(generations: readonly Generation[], settings: AuthoritySettings): OpenGeneration[] {
  const roots = new Set(generations.map(state => state.rootPem));
  return generations.map(state => {
    const root = readCertificate(state.rootPem, 'root');
    const before = [...roots].filter(pem => pem !== state.rootPem).map(pem => readCertificate(pem, 'root'));
    const bridged = state.bridgePem === undefined ? undefined : readCertificate(state.bridgePem, 'bridge');
    return {
      state,
      authority: makeAuthority(
        state,
        settings,
        before.find(other => bridged?.checkIssued(other)),
      ),
      root,
      issuing: readCertificate(state.issuingPem, 'issuing authority'),
      config: readCertificate(state.configPem, 'configuration signer'),
    };
  });
}

/** Is there nothing left that it could vouch for? Leaves end with their issuing authority. */
export function isOver({ issuing, config }: OpenGeneration, now: number): boolean {
  return isExpired(issuing, now) && isExpired(config, now);
}

/** Who issues and who signs at `now`; undefined when none may be used. */
export function assignRoles(
  generations: readonly OpenGeneration[],
  now: number,
  revoked: ReadonlySet<string>,
): Roles | undefined {
  const used = generations.filter(({ state }) => state.usedFrom !== null && state.usedFrom <= now);
  const good = used.filter(each => [each.root, each.issuing, each.config].every(c => !revoked.has(c.serialNumber)));
  const issuing = good.findLast(each => !isExpired(each.issuing, now)) ?? good.at(-1) ?? used.at(-1);
  if (issuing === undefined) return undefined;
  return { issuing, signing: good.find(each => !isNearItsEnd(each.config, now)) ?? issuing };
}

/** One authority of several generations: all are trusted, `roles` say which one acts. It is asked for at each use. */
export function joinGenerations(current: () => { all: readonly OpenGeneration[]; roles: Roles }): Authority {
  const issuing = () => current().roles.issuing.authority;
  const every = (list: (authority: Authority) => readonly string[]) => [
    ...new Set(current().all.flatMap(({ authority }) => list(authority))),
  ];
  return {
    get trustDomain() {
      return issuing().trustDomain;
    },
    get bundle() {
      const { all } = current();
      const roots = new Map(all.map(({ root }) => [root.fingerprint256, root]));
      return {
        trustDomain: issuing().trustDomain,
        roots: [...roots.values()],
        intermediates: all.map(each => each.issuing),
      };
    },
    get roots() {
      return every(({ roots }) => roots);
    },
    get signers() {
      return every(({ signers }) => signers);
    },
    get issuers() {
      return every(({ issuers }) => issuers);
    },
    get rootPem() {
      return issuing().rootPem;
    },
    get rootSha256() {
      return issuing().rootSha256;
    },
    get signer() {
      return current().roles.signing.authority.signer;
    },
    issueNode: (csr, node, now) => issuing().issueNode(csr, node, now),
    issueWorkload: (csr, spiffeId, now) => issuing().issueWorkload(csr, spiffeId, now),
    issueServer: (csr, names, now) => issuing().issueServer(csr, names, now),
    issueBroker: (csr, names, now) => issuing().issueBroker(csr, names, now),
  };
}

export function isNearItsEnd({ validFrom, validTo }: X509Certificate, now: number): boolean {
  const end = Date.parse(validTo);
  return end - now < (end - Date.parse(validFrom)) * lastPart;
}

function isExpired({ validTo }: X509Certificate, now: number): boolean {
  return !(now < Date.parse(validTo));
}
