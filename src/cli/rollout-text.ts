import type { CallCounts, RolloutView } from '../model/rollout.ts';
import { plain, printDuration, shorten, visible } from './readable.ts';

const barWidth = 20;
const maxNames = 60;

/** One line that tells how far it is: with a bar, or without for a log, where the time of a watch would make a line each second. */
export function rolloutLine(view: RolloutView, { bar }: { readonly bar: boolean }): string {
  const { name, phase, step, steps, stage, stageMs, acknowledged, reachable, before, since } = view;
  const at = steps[step - 1];
  if (view.endedAt !== null || phase === 'paused') return visible(`${name} ${standing(view)}`);
  const title = `step ${step}/${steps.length} (${at?.title ?? '-'})`;
  const wait = `${acknowledged} of ${reachable} nodes that are heard have it`;
  const watch = `watching ${printDuration(at?.forMs ?? 0)}`;
  if (!bar) return visible(`${name} ${title}: ${stage === 'waiting' ? wait : watch}`);
  const doing = stage === 'waiting' ? wait : `${watch}, ${printDuration(stageMs)} gone`;
  return visible(`${name} ${drawBar(progressOf(view))} ${title}: ${doing}, ${printRise(before, since)}`);
}

/** 0 to 1: steps that are done, and the part of the present one that has been watched. */
export function progressOf({ phase, step, steps, stage, stageMs }: RolloutView): number {
  if (phase === 'succeeded') return 1;
  const forMs = steps[step - 1]?.forMs ?? 0;
  const part = stage === 'watching' ? (forMs === 0 ? 1 : Math.min(1, stageMs / forMs)) : 0;
  return (step - 1 + part) / Math.max(1, steps.length);
}

function drawBar(part: number): string {
  const full = Math.floor(part * barWidth);
  return `[${'█'.repeat(full)}${'░'.repeat(barWidth - full)}] ${Math.floor(part * 100)}%`;
}

/** `paused by admin`, `rolled-back: step 1 of 2 …`: a reason that says so does not need the phase before it. */
export function standing({ phase, reason }: Pick<RolloutView, 'phase' | 'reason'>): string {
  if (reason === null) return phase;
  return reason.startsWith(phase) ? reason : `${phase}: ${reason}`;
}

/** All that is known of one, a line each. */
export function rolloutDetails(view: RolloutView): string[] {
  const { name, phase, by, changes, steps } = view;
  const isUnderWay = view.endedAt === null;
  return [
    `${name} ${standing(view)} (pushed by ${by})`,
    ...changes.map(({ change, document }) => `  ${change === 'put' ? 'sets' : 'removes'} ${document}`),
    ...steps.map((step, i) => {
      const mark = i + 1 < view.step || phase === 'succeeded' ? '✓' : i + 1 === view.step && isUnderWay ? '▸' : ' ';
      const nodes = step.nodes.length === 0 ? '' : `: ${shorten(step.nodes.join(', '), maxNames)}`;
      return `  ${mark} step ${i + 1}, ${step.title} for ${printDuration(step.forMs)}${nodes}`;
    }),
    ...(isUnderWay ? [`  ${drawBar(progressOf(view))}`, ...printStage(view)] : []),
  ].map(visible);
}

/** What it waits for, and how the calls of its nodes fared before and since. */
function printStage({ stage, stageMs, step, steps, acknowledged, reachable, before, since }: RolloutView): string[] {
  const watched = `watched for ${printDuration(stageMs)} of ${printDuration(steps[step - 1]?.forMs ?? 0)}`;
  const waiting = `${acknowledged} of ${reachable} nodes that can be reached have it`;
  return [
    `  ${stage === 'waiting' ? waiting : watched}`,
    `  denied: ${printCounts(since.denied, since.decisions)}; before: ${printCounts(before.denied, before.decisions)}`,
    `  failed: ${printCounts(since.errors, since.requests)}; before: ${printCounts(before.errors, before.requests)}`,
  ];
}

function printCounts(bad: number, all: number): string {
  return all === 0 ? 'no calls' : `${bad} of ${all} calls (${printShare(bad, all)})`;
}

function printRise(before: CallCounts, since: CallCounts): string {
  if (since.requests === 0 && since.decisions === 0) return 'no calls yet';
  const rise = (was: string, is: string) => (was === is ? is : `${was} → ${is}`);
  const denied = rise(printShare(before.denied, before.decisions), printShare(since.denied, since.decisions));
  const failed = rise(printShare(before.errors, before.requests), printShare(since.errors, since.requests));
  return `denied ${denied}, failed ${failed}`;
}

function printShare(bad: number, all: number): string {
  return all === 0 ? '0%' : `${plain((bad / all) * 100)}%`;
}
