import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** One line of the visitor's output: a call through the mesh and what came of it. */
export interface VisitorCall {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly path: string;
  /** 0 when there was no answer. */
  readonly status: number;
  readonly text: string;
}

const tailBytes = 64 * 1024;

/** The newest calls, from `since` on, oldest first. */
export function readCalls(file: string, since: number): VisitorCall[] {
  const lines = readTail(file).split('\n').slice(0, -1);
  return lines.flatMap(line => parseCall(line) ?? []).filter(call => call.at >= since);
}

function readTail(file: string): string {
  const descriptor = openSync(file, 'r');
  try {
    const { size } = fstatSync(descriptor);
    const bytes = Buffer.alloc(Math.min(size, tailBytes));
    const read = readSync(descriptor, bytes, 0, bytes.length, size - bytes.length);
    return bytes.toString('utf8', 0, read);
  } finally {
    closeSync(descriptor);
  }
}

/** Undefined for the first line of a tail, which may be cut. */
function parseCall(line: string): VisitorCall | undefined {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
