import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { sha256Hex } from '../identity/keys.ts';
import type { Store } from '../store/store.ts';
import type { Artifacts } from './artifacts.ts';
import type { MasterConfig } from './config.ts';
import { type Documents, makeDocuments } from './documents.ts';
import type { Events } from './events.ts';
import type { Nodes } from './nodes.ts';
import type { Publishing } from './publishing.ts';
import { makePushes } from './pushes.ts';
import { makeRollouts, type Rollouts } from './rollouts.ts';
import type { Work } from './work.ts';

/** What operators apply: documents, and the rollouts by which some of them come to nodes. */
export interface Changes {
  readonly rollouts: Rollouts;
  readonly documents: Documents;
}

export function makeChanges(
  parts: {
    readonly store: Store;
    readonly clock: Clock;
    readonly log: Log;
    readonly events: Events;
    readonly nodes: Pick<Nodes, 'fleet'>;
    readonly publishing: Pick<Publishing, 'policies' | 'publishChanged'>;
    readonly artifacts: Artifacts;
    readonly work: Pick<Work, 'jobs' | 'updates' | 'gate' | 'rounds' | 'periodic' | 'roles'>;
  },
  { rootNamespace, trustDomain }: Pick<MasterConfig, 'rootNamespace' | 'trustDomain'>,
): Changes {
  const { store, clock, log, events, artifacts } = parts;
  const { fleet } = parts.nodes;
  const { policies, publishChanged } = parts.publishing;
  const { jobs, updates, gate, rounds, periodic, roles } = parts.work;
  const rollouts = makeRollouts({
    rollouts: store.rollouts,
    fleet,
    events,
    clock,
    log,
    sha256: sha256Hex,
    revision: () => policies.revision,
    publish: publishChanged,
  });
  const documents = makeDocuments(
    {
      store,
      jobs,
      artifacts,
      updates,
      gate,
      clock,
      fleetTotal: () => rounds.ledger().total,
      onJobs: () => {
        rounds.wake();
        periodic.wake();
      },
      onRoles: async () => {
        await roles.load();
        rounds.wake();
      },
      pushes: makePushes({ store, rollouts, onPolicies: publishChanged }, { rootNamespace }),
    },
    { rootNamespace, trustDomain },
  );
  return { rollouts, documents };
}
