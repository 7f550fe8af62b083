import type { Instance } from './instance.ts';

/** Min-min: again and again the task that can end first of all is put where it does. */
export function minMin(instance: Instance): number {
  return greedy(instance, (first, best) => first < best);
}

/** Sufferage, one task a step: the one that loses most when it does not get its best machine goes first. */
export function sufferage(instance: Instance): number {
  return greedy(instance, (_first, _best, loss, largest) => loss > largest);
}

type Better = (first: number, best: number, loss: number, largest: number) => boolean;

function greedy({ tasks, machines, etc }: Instance, better: Better): number {
  const ready = new Float64Array(machines);
  const left = new Set(Array.from({ length: tasks }, (_, task) => task));
  while (left.size > 0) {
    let chosen = { task: -1, machine: 0, end: Number.POSITIVE_INFINITY, loss: Number.NEGATIVE_INFINITY };
    for (const task of left) {
      const { machine, end, loss } = bestMachine(task, machines, etc, ready);
      if (better(end, chosen.end, loss, chosen.loss)) chosen = { task, machine, end, loss };
    }
    left.delete(chosen.task);
    ready[chosen.machine] = chosen.end;
  }
  return ready.reduce((most, each) => Math.max(most, each), 0);
}

function bestMachine(task: number, machines: number, etc: Float64Array, ready: Float64Array) {
  let [machine, end, second] = [0, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let each = 0; each < machines; each++) {
    const time = (ready[each] ?? 0) + (etc[task * machines + each] ?? 0);
    if (time < end) [machine, end, second] = [each, time, end];
    else if (time < second) second = time;
  }
  return { machine, end, loss: second - end };
}
