import { minuteMs } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { beginVersion, installedVersion, refuseVersion } from '../lifecycle/agent-version.ts';
import type { AgentVersionSpec } from '../model/agent-version.ts';
import { ownHashOf, toTaskArtifact } from '../model/artifact.ts';
import type { Birth } from '../model/message.ts';
import type { VersionStore } from './agent-versions.ts';
import type { Artifacts } from './artifacts.ts';

/** How this process can be followed by one of another version. */
export interface VersionChange {
  /** What this process runs. */
  readonly running: string;
  readonly versions: VersionStore;
  /** Asks for it. Where nothing comes of it the version is refused in the state of `versions`, and this process goes on. */
  readonly handOver: (version: string) => void;
  /** Why it can never be. */
  readonly whyNot?: string | undefined;
}

/** Brings the agent to the version that the master wants, once there is a link. */
export interface Upgrade {
  /** What holds from now on; undefined: the installed version. */
  want(spec: AgentVersionSpec | undefined): void;
  onLink(): void;
  /** What the master is told in births. */
  facts(): Pick<Birth, 'bundle' | 'refusedBundle'>;
}

/** Back to the installed version, of which the master says no more. */
const usualReportMs = 2 * minuteMs;

export function makeUpgrade(
  parts: {
    readonly artifacts: Pick<Artifacts, 'fetch'>;
    readonly log: Log;
    readonly isUp: () => boolean;
    /** Tells the master how calls fare, which the next process will not know. */
    readonly tell: () => Promise<void>;
    /** What is refused has changed. */
    readonly onRefused: () => void;
    readonly onWritten: (bytes: number) => void;
  },
  { running, versions, handOver, whyNot }: VersionChange,
  signal: AbortSignal,
): Upgrade {
  const { artifacts, log, isUp, tell, onRefused } = parts;
  /** What is wanted, and what ends when that changes. */
  let wanted: { readonly spec: AgentVersionSpec | undefined; readonly over: AbortController } | undefined;
  let working: Promise<void> = Promise.resolve();
  let told = versions.state.value.refused;
  versions.state.watch(({ refused }) => {
    if (refused === told || signal.aborted) return;
    told = refused;
    onRefused();
  });

  async function bring(id: string, { source, signature }: AgentVersionSpec, signal: AbortSignal): Promise<void> {
    if (versions.programOf(id) !== undefined) return;
    log.info('another version of the agent is fetched', { version: id });
    await versions.tidy();
    const bundle = toTaskArtifact({ source, unpack: 'tar.gz', ...(signature !== undefined && { signature }) });
    const path = await artifacts.fetch(bundle, () => {}, signal);
    parts.onWritten(await versions.put(id, path, signal));
  }

  async function change(id: string, spec: AgentVersionSpec | undefined, signal: AbortSignal): Promise<void> {
    try {
      if (whyNot !== undefined) throw new Error(whyNot);
      if (spec !== undefined) await bring(id, spec, signal);
      await tell();
      await versions.change(state => beginVersion(state, id, spec?.reportWithin ?? usualReportMs));
    } catch (error) {
      if (signal.aborted) return;
      log.error('another version of the agent cannot be had', { version: id, reason: messageOf(error) });
      await versions.change(state => refuseVersion(state, id, messageOf(error)));
    }
    if (!signal.aborted && versions.state.value.refused?.id !== id) handOver(id);
  }

  async function look(): Promise<void> {
    if (wanted === undefined || !isUp() || signal.aborted || wanted.over.signal.aborted) return;
    const { spec, over } = wanted;
    const id = idOf(spec);
    const { refused, tried } = versions.state.value;
    if (id !== running) {
      if (refused?.id === id) return;
      await change(id, spec, AbortSignal.any([signal, over.signal]));
      // once is enough, until something else is wanted
      over.abort();
    } else if (refused !== null && refused.id !== id && tried === null) {
      // who wants it another time may have mended something
      await versions.change(state => ({ ...state, refused: null }));
    }
  }

  function lookAgain(): void {
    working = working.then(look).catch(error => {
      log.error('the version of the agent could not be looked after', { reason: messageOf(error) });
    });
  }

  return {
    want(spec) {
      if (wanted !== undefined && idOf(wanted.spec) === idOf(spec)) return;
      wanted?.over.abort();
      wanted = { spec, over: new AbortController() };
      lookAgain();
    },
    onLink: lookAgain,
    facts() {
      const { refused } = versions.state.value;
      return {
        ...(running !== installedVersion && { bundle: running }),
        ...(refused !== null && { refusedBundle: { bundle: refused.id, why: refused.why } }),
      };
    },
  };
}

function idOf(spec: AgentVersionSpec | undefined): string {
  return (spec && ownHashOf(spec.source)) ?? installedVersion;
}
