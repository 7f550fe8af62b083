import type { Clock } from '../base/clock.ts';
import { hourMs } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { Authority } from '../identity/authority.ts';
import { createGeneration } from '../identity/authority-state.ts';
import type { Issuer } from '../identity/certificate.ts';
import {
  assignRoles,
  type Generation,
  isNearItsEnd,
  isOver,
  joinGenerations,
  type OpenGeneration,
  type Roles,
} from '../identity/generations.ts';
import { createRoot, openRoot, type RootState } from '../identity/root.ts';
import { shouldRotate } from '../lifecycle/rotation.ts';
import type { AuthorityView } from '../model/certificate.ts';
import type { Manifest } from '../model/manifest.ts';
import type { DocumentAck } from '../model/message.ts';
import { type AuthorityFile, maxGenerations, sealRoot } from './authority-file.ts';
import { viewGeneration } from './certificate-views.ts';
import type { Events } from './events.ts';
import { makeRenewals } from './renewals.ts';

/**
 * Whom the trust domain believes, and the way from one generation of its authority to the next: announced in the manifest, then used,
 * the one before in force beside it until it ends. No restart, and no connection is dropped.
 */
export interface Trust {
  /** Of all generations in force; what it says changes as they do. */
  readonly authority: Authority;
  /** Serial numbers of the authorities and signers that act now. */
  inUse(): ReadonlySet<string>;
  /** Does what is due: a new issuing authority and signer at two thirds of their life, the use of what was announced, the end of the old. */
  tend(): Promise<void>;
  /** A manifest was handed out: nodes that acknowledge it or a later one trust what it names. */
  onPublished(revision: number, manifest: Manifest): void;
  onAck(node: string, ack: DocumentAck): Promise<void>;
  /** A new issuing authority and signer by the same root, used an hour later. Throws CONFLICT, UNAVAILABLE when the root's key is away. */
  rotateIssuing(): Promise<void>;
  /**
   * A new root, of the user's where given, that issues once every node that is ready has acknowledged it; `force` does not wait, also
   * for one that is announced already. Throws CONFLICT, INVALID_INPUT.
   */
  rotateRoot(options: { readonly root?: RootState | undefined; readonly force: boolean }): Promise<void>;
  /** The end of the old root; throws CONFLICT while nodes have certificates by it, unless `force`. */
  retire(options: { readonly force: boolean }): Promise<void>;
  view(): Promise<AuthorityView>;
}

export interface TrustParts {
  readonly file: AuthorityFile;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly revoked: () => ReadonlySet<string>;
  /** Nodes that are ready. */
  readonly nodes: () => readonly string[];
  /** Nodes with a certificate that they use, by one of these issuing authorities (serial numbers). */
  readonly holders: (issuers: ReadonlySet<string>) => Promise<readonly string[]>;
  /** Asks a node to renew what it has, at a moment of its choice within so long. */
  readonly askToRenew: (node: string, withinMs: number) => Promise<void>;
  /** There is an authority or a signer: its chain in PEM. */
  readonly record: (chainPem: string) => Promise<void>;
  /** Who is trusted, who issues or who signs is another now. */
  readonly onChanged: () => Promise<void>;
  readonly events: Pick<Events, 'record'>;
}

/** So long a new generation by the same root is known before it issues. */
const announceMs = hourMs;

export async function openTrust(parts: TrustParts): Promise<Trust> {
  const { file, clock, random, log, revoked, nodes, holders, askToRenew, record, onChanged, events } = parts;
  const gate = new Gate();
  const jitter = random();
  const acks = new Map<string, number>();
  /** The first manifest of this process that names the root which waits. */
  let announced: number | undefined;
  let all = await file.load();
  let roles = rolesNow();

  function rolesNow(): Roles {
    const found = assignRoles(all, clock.now(), revoked());
    if (found === undefined)
      throw new MesoliteError('START_FAILED', 'the authority has no generation that may be used');
    return found;
  }

  async function recordAll(): Promise<void> {
    for (const { state } of all) {
      const { rootPem, issuingPem, configPem } = state;
      for (const chain of [rootPem, issuingPem + rootPem, configPem + rootPem]) await record(chain);
    }
  }

  async function change(generations: readonly Generation[]): Promise<void> {
    all = await file.save(generations);
    await recordAll();
    setRoles(rolesNow());
    await onChanged();
  }

  function setRoles(next: Roles): void {
    if (next.issuing.issuing.serialNumber !== roles.issuing.issuing.serialNumber) renewals.begin();
    roles = next;
  }

  /** Serial numbers of the authorities that issue no more. */
  const replaced = (): OpenGeneration[] => {
    const newestUsed = all.indexOf(roles.issuing);
    return all.slice(0, Math.max(0, newestUsed));
  };
  const renewals = makeRenewals({
    holders: () => holders(new Set(replaced().map(({ issuing }) => issuing.serialNumber))),
    nodes,
    ask: askToRenew,
    clock,
    log,
  });

  const states = (): Generation[] => all.map(({ state }) => state);
  const newest = (): OpenGeneration => all.at(-1) ?? roles.issuing;
  const waiting = (): OpenGeneration | undefined => all.find(({ state }) => state.usedFrom === null);
  const waitingFor = (): string[] =>
    waiting() === undefined
      ? []
      : nodes().filter(node => (acks.get(node) ?? 0) < (announced ?? Number.POSITIVE_INFINITY));

  async function openRootOf({ state }: OpenGeneration): Promise<Issuer | undefined> {
    const root = await file.rootKey(state.rootPem);
    return root && openRoot(root, file.settings, clock.now());
  }

  async function rotateIssuing(): Promise<void> {
    const last = newest();
    if (last.state.usedFrom === null) {
      throw new MesoliteError('CONFLICT', 'a new root is on its way: it brings a new issuing authority with it');
    }
    if (all.length >= maxGenerations) {
      throw new MesoliteError('CONFLICT', `${all.length} generations are in force, at most ${maxGenerations} may be`);
    }
    const root = await openRootOf(last);
    if (root === undefined) {
      throw new MesoliteError(
        'UNAVAILABLE',
        'the key of the root has been taken away: put the file authority-root back',
      );
    }
    const now = clock.now();
    const made = createGeneration(root, file.settings, now);
    const { bridgePem } = last.state;
    const usedFrom = [roles.issuing.issuing, roles.signing.config].some(each => isNearItsEnd(each, now))
      ? now
      : now + announceMs;
    await change([...states(), { ...made, ...(bridgePem !== undefined && { bridgePem }), usedFrom }]);
    tell('a new issuing authority and a new signer are announced');
  }

  async function rotateRoot(brought: RootState | undefined, force: boolean): Promise<void> {
    if (waiting() !== undefined) {
      if (force && brought === undefined) return use();
      throw new MesoliteError('CONFLICT', `a new root waits for ${printNodes(waitingFor())}; force does not wait`);
    }
    if (new Set(states().map(state => state.rootPem)).size > 1 || all.length >= maxGenerations) {
      throw new MesoliteError('CONFLICT', 'the root before this one is still in force: retire it first');
    }
    const now = clock.now();
    const { settings } = file;
    const root = brought ? sealRoot(brought, settings, now) : createRoot(settings, now);
    const last = newest();
    if (root.rootPem === last.state.rootPem) throw new MesoliteError('CONFLICT', 'this root is in force already');
    const before = await openRootOf(last);
    if (before === undefined)
      log.warn('nodes that are away now will not find the new root: the key of the old one is away');
    await file.saveRootKey(root, await file.rootKey(last.state.rootPem));
    announced = undefined;
    const made = createGeneration(openRoot(root, settings, now), settings, now, before);
    await change([...states(), { ...made, usedFrom: force ? now : null }]);
    tell(force ? 'a new root issues now' : 'a new root is announced, and issues when every node that is ready has it');
  }

  /** The generation that waits issues from now on. */
  async function use(): Promise<void> {
    const now = clock.now();
    await change(states().map(state => (state.usedFrom === null ? { ...state, usedFrom: now } : state)));
    tell('the new root issues now');
  }

  async function retire(force: boolean): Promise<void> {
    const kept = all.filter(({ state }) => state.rootPem === roles.issuing.state.rootPem);
    const old = all.filter(each => !kept.includes(each));
    if (old.length === 0 || waiting() !== undefined) {
      throw new MesoliteError('CONFLICT', 'there is no old root: the newest one issues only once all nodes have it');
    }
    const left = await holders(new Set(old.map(({ issuing }) => issuing.serialNumber)));
    if (left.length > 0 && !force) {
      throw new MesoliteError(
        'CONFLICT',
        `certificates by the old root are in use at ${printNodes(left)}: they have been asked to renew; force cuts them off`,
      );
    }
    await change(kept.map(({ state }) => state));
    const root = await file.rootKey(roles.issuing.state.rootPem);
    if (root !== undefined) await file.saveRootKey(root);
    tell('the old root is retired');
  }

  async function tend(): Promise<void> {
    const now = clock.now();
    if (waiting() === undefined) {
      if (isDue(newest(), now, jitter)) await rotateInTime();
    } else if ((announced !== undefined && waitingFor().length === 0) || isNearItsEnd(roles.issuing.issuing, now)) {
      await use();
    }
    const { issuing, signing } = rolesNow();
    if (issuing !== roles.issuing || signing !== roles.signing) {
      setRoles({ issuing, signing });
      await onChanged();
      tell('the next generation of the authority has taken over');
    }
    const over = all.filter(each => each !== newest() && each !== roles.issuing && isOver(each, now));
    if (over.length > 0) await change(states().filter(state => !over.some(each => each.state === state)));
    const { validFrom, validTo } = newest().root;
    if (shouldRotate(Date.parse(validFrom), Date.parse(validTo), now, 0)) {
      events.record('certificate-expiring', {
        message: `the root expires on ${validTo}: mesolite authority rotate root`,
      });
    }
    await renewals.tend();
  }

  async function rotateInTime(): Promise<void> {
    try {
      await rotateIssuing();
    } catch (error) {
      const { validTo } = newest().issuing;
      const message = `the issuing authority cannot be renewed and expires on ${validTo}: ${messageOf(error)}`;
      log.error('the issuing authority cannot be renewed', { validTo, reason: messageOf(error) });
      events.record('certificate-expiring', { message });
    }
  }

  function tell(message: string): void {
    log.info('the authority has changed', { message, rootSha256: roles.issuing.authority.rootSha256 });
    events.record('authority-rotated', { message });
  }

  await recordAll();
  return {
    authority: joinGenerations(() => ({ all, roles })),
    inUse: () =>
      new Set([roles.issuing.issuing, roles.issuing.config, roles.signing.config].map(each => each.serialNumber)),
    tend: () => gate.run(tend),
    onPublished(revision, { roots }) {
      const root = waiting()?.authority.rootPem;
      if (root !== undefined && roots.includes(root)) announced ??= revision;
    },
    async onAck(node, { kind, revision, reason }) {
      if (kind !== 'manifest' || reason !== undefined) return;
      acks.set(node, revision);
      if (waiting() !== undefined && waitingFor().length === 0) await gate.run(tend);
    },
    rotateIssuing: () => gate.run(rotateIssuing),
    rotateRoot: ({ root, force }) =>
      gate.run(async () => {
        await rotateRoot(root, force);
        await renewals.tend();
      }),
    retire: ({ force }) => gate.run(() => retire(force)),
    view: async () => ({
      trustDomain: file.settings.trustDomain,
      waitingFor: waitingFor(),
      renewing: [...(await renewals.left())],
      generations: all.map(each => viewGeneration(each, roles)),
    }),
  };
}

/** At two thirds of the life of what ends first; `jitter` keeps many masters apart. */
function isDue({ issuing, config }: OpenGeneration, now: number, jitter: number): boolean {
  return [issuing, config].some(({ validFrom, validTo }) =>
    shouldRotate(Date.parse(validFrom), Date.parse(validTo), now, jitter),
  );
}

function printNodes(nodes: readonly string[]): string {
  const more = nodes.length > 5 ? ` and ${nodes.length - 5} more` : '';
  return nodes.length === 0 ? 'the next manifest' : nodes.slice(0, 5).join(', ') + more;
}
