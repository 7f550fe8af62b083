import { fits, minus, plus, sameVector, type Vector } from './vector.ts';

/**
 * What one node will have free from now on: `free[i]` holds from `times[i]` to `times[i + 1]`, the last for ever. It lives for
 * one round; `reserve` changes it. Neighbours are never equal, so that a queue of like tasks does not make it longer.
 */
export interface Timeline {
  readonly times: number[];
  readonly free: Vector[];
}

/** What comes free at `at`. */
export interface Release {
  readonly at: number;
  readonly amount: Vector;
}

/** From `now` on `free` is there, and more with each release. */
export function makeTimeline(now: number, free: Vector, releases: readonly Release[]): Timeline {
  const timeline: Timeline = { times: [now], free: [free] };
  let rest = free;
  for (const { at, amount } of [...releases].sort((a, b) => a.at - b.at)) {
    rest = plus(rest, amount);
    const last = timeline.times.length - 1;
    if (at <= (timeline.times[last] ?? now)) {
      timeline.free[last] = rest;
    } else {
      timeline.times.push(at);
      timeline.free.push(rest);
    }
  }
  return timeline;
}

/** The first moment from which `need` is free for `holdMs` (Infinity: for good) without a break; undefined when none comes. */
export function earliestStart({ times, free }: Timeline, need: Vector, holdMs: number): number | undefined {
  let start: number | undefined;
  for (let i = 0; i < free.length; i++) {
    if (!fits(need, free[i] ?? [])) {
      start = undefined;
      continue;
    }
    start ??= times[i] ?? 0;
    if ((times[i + 1] ?? Number.POSITIVE_INFINITY) - start >= holdMs) return start;
  }
  return undefined;
}

/** Takes `need` from `start` for `holdMs`. */
export function reserve(timeline: Timeline, need: Vector, start: number, holdMs: number): void {
  const from = split(timeline, start);
  const to = split(timeline, start + holdMs);
  for (let i = from; i < to; i++) timeline.free[i] = minus(timeline.free[i] ?? need, need);
  // inside, steps stay apart, since each lost the same: only at the two ends they may have become equal
  join(timeline, to);
  join(timeline, from);
}

/** Makes a step begin at `time` and returns its index. */
function split({ times, free }: Timeline, time: number): number {
  if (time === Number.POSITIVE_INFINITY) return times.length;
  let index = times.length;
  while (index > 0 && (times[index - 1] ?? 0) >= time) index--;
  if (times[index] === time) return index;
  times.splice(index, 0, time);
  free.splice(index, 0, free[index - 1] ?? []);
  return index;
}

function join({ times, free }: Timeline, index: number): void {
  const [before, after] = [free[index - 1], free[index]];
  if (before === undefined || after === undefined || !sameVector(before, after)) return;
  times.splice(index, 1);
  free.splice(index, 1);
}
