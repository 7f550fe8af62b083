import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { systemRandom } from '../device/dice.ts';
import { makeFetchText } from '../link/fetch-text.ts';
import { readProxyRules } from '../link/proxy-rules.ts';
import { maxKeySetBytes } from '../model/request-authentication.ts';
import type { Store } from '../store/store.ts';
import type { MasterConfig } from './config.ts';
import type { Credentials } from './credentials.ts';
import type { Events } from './events.ts';
import { type KeySets, openKeySets } from './key-sets.ts';
import { type ManifestOutbox, makeManifestOutbox } from './manifest.ts';
import type { Nodes } from './nodes.ts';
import type { Outgoing } from './outgoing.ts';
import { openPolicies, type Policies } from './policies.ts';
import type { Rollouts } from './rollouts.ts';
import { makeServices, type Services } from './services.ts';

/** What the master says to all nodes: policies with the keys of issuers, services, and the manifest that names the newest of both. */
export interface Publishing {
  readonly keySets: KeySets;
  readonly policies: Policies;
  readonly services: Services;
  readonly manifest: ManifestOutbox;
  /** Those that have changed. */
  publishServices(): Promise<void>;
  /** As they are now, once the keys that they name were asked for. */
  publishChanged(): Promise<void>;
  publishAll(): Promise<void>;
}

export async function openPublishing(
  parts: {
    readonly store: Store;
    readonly outgoing: Outgoing;
    readonly nextRevision: () => number;
    readonly clock: Clock;
    readonly log: Log;
    readonly events: Events;
    readonly credentials: Pick<Credentials, 'authority' | 'book' | 'trust'>;
    readonly nodes: Pick<Nodes, 'fleet' | 'weights'>;
    /** The one of policies that is under way. */
    readonly rollout: () => Rollouts['active'];
    /** The port of the API; 0 where it is not known yet. */
    readonly apiPort: () => number;
    readonly inBackground: (what: string, work: Promise<unknown>) => void;
  },
  config: MasterConfig,
  { epoch }: { readonly epoch: number },
): Promise<Publishing> {
  const { store, outgoing, nextRevision, clock, log, events, rollout, apiPort, inBackground } = parts;
  const { authority, book, trust } = parts.credentials;
  const { fleet, weights } = parts.nodes;
  const { trustDomain, rootNamespace, meshDefault, pathNormalization } = config;
  const fetchText = makeFetchText({ proxyFor: readProxyRules(config.proxy ?? {}), maxBytes: maxKeySetBytes });
  const onChanged = () => inBackground('publishing other keys', publishPolicies());
  const random = systemRandom;
  const keySets = await openKeySets({ store, fetchText, clock, random, events, log, rollout, onChanged });
  const { problemOf } = keySets;
  const policies = await openPolicies({ store, outgoing, clock, problemOf, rollout }, () => ({
    trustDomain,
    rootNamespace,
    meshDefault,
    pathNormalization,
    keySets: keySets.carried,
  }));
  // peers refuse the tasks of one that is cut off
  const nodeOf = (id: string) => (book.isCutOff(id) ? undefined : fleet.get(id));
  const services = makeServices({ store, outgoing, nodeOf, weightOf: weights.weightOf, clock }, { trustDomain });
  const manifest = makeManifestOutbox(
    {
      authority,
      outgoing,
      clock,
      nextRevision,
      policyRevision: () => policies.revision,
      serviceRevisions: services.revisions,
      revoked: () => book.revoked,
      api: () => (apiPort() === 0 ? [] : config.advertise.map(host => ({ host, port: apiPort() }))),
      onPublished: trust.onPublished,
    },
    { epoch },
  );

  async function publishPolicies(): Promise<void> {
    await policies.publish();
    await manifest.publish();
  }

  return {
    ...{ keySets, policies, services, manifest },
    async publishServices() {
      if (await services.publish()) await manifest.publish();
    },
    async publishChanged() {
      await keySets.follow();
      await publishPolicies();
    },
    async publishAll() {
      await policies.publish();
      await services.publish({ all: true });
      await manifest.publish();
    },
  };
}
