import { Cell } from '../base/cell.ts';
import type { AgentVersionSpec } from '../model/agent-version.ts';
import type { FirmwareProfile } from '../model/profile.ts';
import { topics } from '../model/topics.ts';
import { noPeerAuthentication } from '../policy/peer-authentication.ts';
import { noRequestAuthentication } from '../policy/request-authentication.ts';
import type { ProxyParts } from '../proxy/node-proxy.ts';
import { noDestinations } from '../traffic/destinations.ts';
import { noLimits } from '../traffic/limit.ts';
import { noRoutes } from '../traffic/service-routes.ts';
import { appliedIn } from './applied-profiles.ts';
import type { NodeClock } from './clock.ts';
import { manifestSlot } from './manifest.ts';
import type { MasterLink } from './master-link.ts';
import {
  agentVersionOf,
  authorizationOf,
  compileInto,
  denyAll,
  destinationsOf,
  limitsOf,
  peerAuthenticationOf,
  policySlot,
  requestAuthenticationOf,
  routesOf,
} from './policy.ts';
import { makeServiceInboxes, type ServiceInboxes } from './services.ts';
import { makeSignedInbox, type SignedInboxParts } from './signed-inbox.ts';
import type { Trust } from './trust.ts';
import { type KnownManifest, watchForWithheld } from './withheld.ts';

/** What the proxy decides by: all of it changes in one turn. */
export type Rules = Pick<
  ProxyParts,
  'policy' | 'destinations' | 'limits' | 'peerAuthentication' | 'requestAuthentication' | 'routes'
>;

/** What the master says to all nodes: the policies, the manifest, and the services that are called from here. */
export interface SignedDocuments {
  readonly rules: Rules;
  readonly agentVersion: Cell<AgentVersionSpec | undefined>;
  readonly services: ServiceInboxes;
  readonly manifest: Cell<KnownManifest | undefined>;
  /** Puts the last good policies in force. */
  load(): Promise<void>;
  /** Hears policies and manifests from now on. */
  listen(): void;
  /** Looks whether the broker keeps something back, until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
}

export function makeSignedDocuments(
  parts: SignedInboxParts & {
    readonly clock: NodeClock;
    readonly trust: Trust;
    readonly master: Pick<MasterLink, 'link' | 'isUp'>;
    readonly appliedProfiles: Cell<readonly FirmwareProfile[]>;
    /** Hears which rollout's changes are in force from now on, if any. */
    readonly onRollout: (rollout: string | undefined) => void;
    readonly inBackground: (what: string, work: Promise<unknown>) => void;
  },
  { trustDomain }: { readonly trustDomain: string },
): SignedDocuments {
  const { clock, trust, refusals, appliedProfiles, onRollout, inBackground } = parts;
  const { link, isUp } = parts.master;
  const rules = {
    policy: new Cell(denyAll(trustDomain)),
    destinations: new Cell(noDestinations),
    limits: new Cell(noLimits),
    peerAuthentication: new Cell(noPeerAuthentication),
    requestAuthentication: new Cell(noRequestAuthentication),
    routes: new Cell(noRoutes),
  };
  const agentVersion = new Cell<AgentVersionSpec | undefined>(undefined);
  const policies = makeSignedInbox(
    parts,
    policySlot(
      [
        compileInto(rules.policy, authorizationOf),
        compileInto(rules.destinations, destinationsOf),
        compileInto(rules.limits, limitsOf),
        compileInto(rules.peerAuthentication, peerAuthenticationOf),
        compileInto(rules.requestAuthentication, requestAuthenticationOf),
        compileInto(rules.routes, routesOf),
        compileInto(agentVersion, agentVersionOf),
        compileInto(appliedProfiles, appliedIn),
      ],
      { node: parts.sender.node, onRollout },
    ),
  );
  const manifest = new Cell<KnownManifest | undefined>(undefined);
  const manifests = makeSignedInbox(
    parts,
    manifestSlot({ trust, clock, onTaken: taken => manifest.set(taken) }),
    // the one that was taken before the start may come again, for what it says besides trust
    trust.revision - 1,
  );
  const services = makeServiceInboxes({ ...parts, subscribe: (t, h) => link.subscribe(t, h) });

  return {
    rules,
    agentVersion,
    services,
    manifest,
    load: policies.load,
    listen() {
      link.subscribe(topics.policy, (_, wire) =>
        inBackground('taking a policy', policies.receive(Uint8Array.from(wire))),
      );
      link.subscribe(topics.manifest, (_, wire) =>
        inBackground('taking a manifest', manifests.receive(Uint8Array.from(wire))),
      );
    },
    run: signal =>
      watchForWithheld(
        {
          clock,
          refusals,
          isUp,
          manifest: () => manifest.value,
          policyRevision: () => policies.inForce?.revision ?? 0,
          serviceRevisions: services.revisions,
        },
        signal,
      ),
  };
}
