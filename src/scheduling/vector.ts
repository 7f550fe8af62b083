import { countInRanges, isInRanges, nodePorts, type Resources } from '../model/resources.ts';
import type { PendingTask } from './pending.ts';

/** Amounts by the dimensions of one round: arithmetic on many nodes is cheaper on these than on names. */
export type Vector = readonly number[];

type Needs = Pick<PendingTask, 'needs' | 'nodePorts'>;

/** How the resources of one round become vectors: one dimension a scalar, one for the count of ports, one a device or numbered port. */
export interface Dimensions {
  /** What is there or held; what no pending task asks for is left out. */
  vectorOf(resources: Resources): Vector;
  needOf(task: Needs & Pick<PendingTask, 'portCount'>): Vector;
}

export function dimensionsOf(pending: readonly Needs[]): Dimensions {
  const scalars = new Set<string>();
  const devices = new Map<string, { readonly set: string; readonly word: string }>();
  const numbers = new Set<number>();
  for (const { needs, nodePorts } of pending) {
    for (const name of Object.keys(needs.scalars)) scalars.add(name);
    for (const [set, words] of Object.entries(needs.sets)) {
      for (const word of words) devices.set(`${set} ${word}`, { set, word });
    }
    for (const port of nodePorts ?? []) numbers.add(port);
  }
  const scalarNames = [...scalars];
  const deviceList = [...devices.values()];
  const numberList = [...numbers];
  const vectorOf = ({ scalars, sets }: PendingTask['needs'], ports: number, has: (port: number) => boolean): Vector => [
    ports,
    ...scalarNames.map(name => scalars[name] ?? 0),
    ...deviceList.map(({ set, word }) => (sets[set]?.includes(word) === true ? 1 : 0)),
    ...numberList.map(port => (has(port) ? 1 : 0)),
  ];
  return {
    vectorOf: resources =>
      vectorOf(resources, countInRanges(resources.ranges.ports ?? []), port =>
        isInRanges(port, resources.ranges[nodePorts] ?? []),
      ),
    needOf: task => vectorOf(task.needs, task.portCount, port => task.nodePorts?.includes(port) === true),
  };
}

export function fits(need: Vector, free: Vector): boolean {
  for (let i = 0; i < need.length; i++) if (at(need, i) > at(free, i)) return false;
  return true;
}

export function plus(a: Vector, b: Vector): Vector {
  return a.map((amount, i) => amount + at(b, i));
}

export function minus(a: Vector, b: Vector): Vector {
  return a.map((amount, i) => amount - at(b, i));
}

/** The smaller of the two in each dimension. */
export function least(a: Vector, b: Vector): Vector {
  return a.map((amount, i) => Math.min(amount, at(b, i)));
}

export function sameVector(a: Vector, b: Vector): boolean {
  return a.every((amount, i) => amount === at(b, i));
}

function at(vector: Vector, index: number): number {
  return vector[index] ?? 0;
}
