import { type Clock, secondMs } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import { addedBy } from '../lifecycle/rings.ts';
import {
  advanceRollout,
  endRollout,
  hasEnded,
  pauseRollout,
  type RolloutNode,
  type RolloutState,
  resumeRollout,
  startRollout,
} from '../lifecycle/rollout.ts';
import type { Sha256 } from '../model/audit-chain.ts';
import type { EventKind } from '../model/event.ts';
import type { DocumentAck, Heartbeat } from '../model/message.ts';
import type { RolloutCommand, RolloutSpec, RolloutView } from '../model/rollout.ts';
import type { DocumentChange, RolloutEnd, StoredRollout, Rollouts as StoredRollouts } from '../store/rollouts.ts';
import { versionOf, withVersion } from './agent-versions.ts';
import type { Events } from './events.ts';
import type { Fleet } from './fleet.ts';
import { describeStep, nameOfChange, viewRollout } from './rollout-view.ts';
import { makeTrials } from './trials.ts';

export const rolloutTimes = {
  /** Nodes tell every two seconds how calls fare where these change. */
  lookEveryMs: secondMs,
  /** A machine that slept has not watched: a look counts for no more than this. */
  mostPerLookMs: 5 * secondMs,
  /** What a watch has lived through is written so often; after a crash it is that much longer. */
  saveEveryMs: 10 * secondMs,
} as const;

/** Rollouts that are remembered. */
export const keepRollouts = 100;

/** What becomes of documents, and how it goes to the nodes. */
export interface RolloutPush {
  readonly changes: readonly DocumentChange[];
  readonly spec: RolloutSpec;
  /** The operator. */
  readonly by: string;
}

/** Takes changes of policies through the fleet, ring after ring: one rollout at a time, whose newest step is published. */
export interface Rollouts {
  /** Reads the one that a master before this one left under way. */
  load(): Promise<void>;
  readonly active: StoredRollout | undefined;
  /** Of nodes that a rollout may go to. */
  nodeIds(): string[];
  /** Those of them that the first step of `spec` is for, now. */
  firstRing(spec: RolloutSpec): readonly string[];
  /** Takes the place of the one under way: with its changes, where the push does not have others of the same documents. */
  begin(push: RolloutPush): Promise<StoredRollout>;
  /** Stores `changes`, and all those of the one under way but of the same documents: they hold everywhere. It may have ended meanwhile. */
  overtake(changes: readonly DocumentChange[], by: string): Promise<void>;
  /** Throws NOT_FOUND, and CONFLICT for one that is over. */
  command(name: string, command: RolloutCommand, by: string): Promise<RolloutView>;
  list(): Promise<RolloutView[]>;
  onAck(node: string, ack: DocumentAck): void;
  onHeartbeat(node: string, heartbeat: Heartbeat): void;
  /** Watches until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
}

export function makeRollouts(parts: {
  readonly rollouts: StoredRollouts;
  readonly fleet: Pick<Fleet, 'list'>;
  readonly events: Pick<Events, 'record'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly sha256: Sha256;
  /** Of the document that is published. */
  readonly revision: () => number;
  readonly publish: () => Promise<void>;
}): Rollouts {
  const { rollouts, fleet, events, clock, log, sha256 } = parts;
  const gate = new Gate(64);
  const trials = makeTrials();
  let active: StoredRollout | undefined;
  let lookedAt = clock.monotonic();
  let savedAt = clock.monotonic();
  /** Is what is published what it should be? */
  let isPublished = true;

  function nodesNow(): RolloutNode[] {
    const version = active && versionOf(active.changes);
    return fleet.list().flatMap(({ id, labels, birth, state }) => {
      if (state === 'joined' || state === 'quarantined') return [];
      const node = { id, labels: { ...birth?.attributes, ...labels }, reachable: state === 'ready', rank: sha256(id) };
      return [{ ...node, ...withVersion(trials.of(id, active?.name, parts.revision()), birth, version) }];
    });
  }

  function tell(kind: EventKind, rollout: StoredRollout, message: string): void {
    events.record(kind, { message: `${rollout.name}: ${message}` });
  }

  async function publish(): Promise<void> {
    isPublished = false;
    await parts.publish();
    isPublished = true;
  }

  /** On the disk first: a master that is killed goes on from there. */
  async function turn(rollout: StoredRollout, state: RolloutState): Promise<void> {
    const before = rollout.state;
    const hasTurned = state.phase !== before.phase || state.stage !== before.stage || state.rings !== before.rings;
    if (hasTurned || clock.monotonic() - savedAt >= rolloutTimes.saveEveryMs) {
      if (hasEnded(state)) await rollouts.end(endOf(rollout, state));
      else await rollouts.save(rollout.name, state);
      savedAt = clock.monotonic();
    }
    active = hasEnded(state) ? undefined : { ...rollout, state };
    if (state.step !== before.step) tell('rollout-step', rollout, describeStep(rollout.spec, state));
    if (state.phase !== before.phase) tellPhase(rollout, state);
    if (state.rings !== before.rings || hasEnded(state)) await publish();
  }

  function tellPhase(rollout: StoredRollout, { phase, reason }: RolloutState): void {
    const kind = phase === 'running' ? 'rollout-resumed' : (`rollout-${phase}` as const);
    tell(kind, rollout, reason ?? (phase === 'succeeded' ? 'it is in force on all nodes' : 'it goes on'));
  }

  const endOf = (rollout: StoredRollout, state: RolloutState): RolloutEnd => ({
    name: rollout.name,
    state,
    at: clock.now(),
    carryOut: state.phase === 'succeeded' ? rollout.changes : [],
  });

  async function look(): Promise<void> {
    const now = clock.monotonic();
    const elapsedMs = Math.min(now - lookedAt, rolloutTimes.mostPerLookMs);
    lookedAt = now;
    if (active !== undefined) await turn(active, advanceRollout(active.state, active.spec, nodesNow(), elapsedMs));
    if (!isPublished) await publish();
  }

  async function beginNow({ changes, spec, by }: RolloutPush): Promise<StoredRollout> {
    const old = active;
    const all = [...changes, ...(old === undefined ? [] : without(old.changes, changes))];
    const ends = old && endOf(old, endRollout(old.state, 'superseded', `by a push of ${by}`));
    const begun = await rollouts.begin(
      { subject: 'policy', spec, changes: all, by, state: startRollout(spec, nodesNow()), startedAt: clock.now() },
      { keep: keepRollouts, ...(ends && { ends }) },
    );
    active = begun;
    if (old !== undefined && ends !== undefined) tellPhase(old, ends.state);
    tell(
      'rollout-started',
      begun,
      `${by} pushed ${all.length === 1 ? 'a change' : `${all.length} changes`}; ${describeStep(spec, begun.state)}`,
    );
    lookedAt = clock.monotonic();
    await publish();
    return begun;
  }

  async function overtakeNow(changes: readonly DocumentChange[], by: string): Promise<void> {
    if (active === undefined) await rollouts.carryOut(changes, clock.now());
    else {
      const state = endRollout(active.state, 'superseded', `by a push of ${by} to all nodes at once`);
      await rollouts.end({ ...endOf(active, state), carryOut: [...without(active.changes, changes), ...changes] });
      tellPhase(active, state);
      active = undefined;
    }
    await publish();
  }

  async function obey(name: string, command: RolloutCommand, by: string): Promise<RolloutView> {
    const rollout = active;
    if (rollout?.name !== name) {
      const known = (await rollouts.list()).find(each => each.name === name);
      if (known === undefined) throw new MesoliteError('NOT_FOUND', `there is no rollout ${name}`);
      throw new MesoliteError('CONFLICT', `rollout ${name} is over: ${known.state.phase}`);
    }
    const state = commanded(rollout.state, command, by);
    if (state === rollout.state) {
      throw new MesoliteError('CONFLICT', `rollout ${name} is ${rollout.state.phase} already`);
    }
    await turn(rollout, state);
    return viewRollout({ ...rollout, state, endedAt: hasEnded(state) ? clock.now() : null }, nodesNow());
  }

  return {
    async load() {
      active = (await rollouts.list()).find(rollout => rollout.endedAt === null);
    },
    get active() {
      return active;
    },
    nodeIds: () => nodesNow().map(node => node.id),
    firstRing: ({ steps: [first = {}] }) => addedBy(first, nodesNow(), new Set()),
    begin: push => gate.run(() => beginNow(push)),
    overtake: (changes, by) => gate.run(() => overtakeNow(changes, by)),
    command: (name, command, by) => gate.run(() => obey(name, command, by)),
    async list() {
      const nodes = nodesNow();
      return (await rollouts.list()).map(rollout =>
        viewRollout(rollout.name === active?.name ? active : rollout, nodes),
      );
    },
    onAck: trials.onAck,
    onHeartbeat: trials.onHeartbeat,
    async run(signal) {
      lookedAt = clock.monotonic();
      while (await clock.sleep(rolloutTimes.lookEveryMs, signal, 'loop')) {
        if (active === undefined && isPublished) continue;
        await gate.run(look).catch(error => {
          log.error('a rollout could not be looked after', { rollout: active?.name, reason: messageOf(error), error });
        });
      }
    },
  };
}

function commanded(state: RolloutState, command: RolloutCommand, by: string): RolloutState {
  switch (command) {
    case 'pause':
      return pauseRollout(state, `paused by ${by}`);
    case 'resume':
      return resumeRollout(state);
    case 'abort':
      return endRollout(state, 'aborted', `aborted by ${by}`);
    default:
      return command satisfies never;
  }
}

function without(changes: readonly DocumentChange[], others: readonly DocumentChange[]): DocumentChange[] {
  const names = new Set(others.map(nameOfChange));
  return changes.filter(change => !names.has(nameOfChange(change)));
}
