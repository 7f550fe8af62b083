/** The program that somebody has put onto the node; every other version is called by the sha256 of its bundle. */
export const installedVersion = 'installed';

/** What a node knows of the versions of its agent. */
export interface AgentVersions {
  /** What a start runs: it has reported in once, or is the installed one. */
  readonly current: string;
  /** What it took the place of. */
  readonly previous: string;
  /** Starts of the current one in a row that did not last. */
  readonly starts: number;
  /** What was begun beside the current one and has not reported in. */
  readonly tried: { readonly id: string; readonly times: number; readonly withinMs: number } | null;
  /** What did not come up, and is not begun again while it is what the master wants. */
  readonly refused: { readonly id: string; readonly why: string } | null;
}

export const firstVersions: AgentVersions = {
  current: installedVersion,
  previous: installedVersion,
  starts: 0,
  tried: null,
  refused: null,
};

/** So often a version may end early before the one before it runs again, or be begun without having reported in. */
export const mostTries = 3;

/** A start that nobody prepared, as after a power cut: what it runs is `current` of the result. A card may have lost a version. */
export function afterStart(versions: AgentVersions, isHere: (id: string) => boolean): AgentVersions {
  const { current, previous, starts } = versions;
  const before = current !== previous && isHere(previous) ? previous : installedVersion;
  const fallBack = (why: string) => ({ ...refuseVersion(versions, current, why), current: before, starts: 0 });
  if (!isHere(current)) return fallBack('it is not on the disk any more');
  if (current === before) return versions;
  return starts < mostTries
    ? { ...versions, starts: starts + 1 }
    : fallBack(`it ended ${mostTries} times in a row soon after its start`);
}

/** The running version has lasted: its earlier starts say nothing any more. */
export function afterLasting(versions: AgentVersions): AgentVersions {
  return versions.starts === 0 ? versions : { ...versions, starts: 0 };
}

/** `id` is about to be begun: the current one anew, or another beside it, unless that was begun too often. */
export function beginVersion(versions: AgentVersions, id: string, withinMs: number): AgentVersions {
  if (id === versions.current) return { ...versions, tried: null };
  const times = versions.tried?.id === id ? versions.tried.times : 0;
  if (times >= mostTries) return refuseVersion(versions, id, `it was begun ${times} times and never reported in`);
  return { ...versions, tried: { id, times: times + 1, withinMs } };
}

/** It has reported in. */
export function keepVersion({ current, previous }: AgentVersions, id: string): AgentVersions {
  return { ...firstVersions, current: id, previous: current === id ? previous : current };
}

export function refuseVersion(versions: AgentVersions, id: string, why: string): AgentVersions {
  return { ...versions, tried: null, refused: { id, why: why.slice(0, 400) } };
}
