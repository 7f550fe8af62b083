import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Random } from '../../../src/base/random.ts';
import type { OpenFile } from '../../../src/device/file-operations.ts';
import { VolatileDisk } from '../../../test/fixtures/volatile-disk.ts';

/** What a node does to its files, in order. */
export type Operation =
  | { readonly do: 'create'; readonly path: string; readonly file: number }
  | { readonly do: 'write'; readonly file: number; readonly base64: string }
  | { readonly do: 'sync'; readonly file: number }
  | { readonly do: 'rename'; readonly from: string; readonly to: string }
  | { readonly do: 'remove'; readonly path: string }
  | { readonly do: 'syncDirectory'; readonly path: string };

/** Where a node keeps its durable files. */
export function stateOf(home: string): string {
  return join(home, 'state');
}

/** The durable files of a node before it starts. */
export function readState(home: string): ReadonlyMap<string, Buffer> {
  const directory = stateOf(home);
  mkdirSync(directory, { recursive: true });
  return new Map(readdirSync(directory).map(name => [name, readFileSync(join(directory, name))]));
}

/** Leaves of a node's files what a medium keeps that loses its power: of what was done since `before` only what was synced is safe. */
export async function tearState(
  home: string,
  before: ReadonlyMap<string, Buffer>,
  journal: string,
  random: Random,
): Promise<void> {
  const disk = new VolatileDisk();
  for (const [name, content] of before) {
    const file = await disk.create(name);
    await file.write(content);
    await file.sync();
  }
  await disk.syncDirectory();
  const opened = new Map<number, OpenFile>();
  // the last line may be half written
  for (const line of journal.split('\n').slice(0, -1))
    await replay(disk, opened, JSON.parse(line)).catch(() => undefined);
  disk.restart(random);
  const directory = stateOf(home);
  rmSync(directory, { recursive: true });
  mkdirSync(directory);
  for (const name of await disk.list()) {
    writeFileSync(join(directory, name), await disk.read(name, Number.MAX_SAFE_INTEGER));
  }
}

async function replay(disk: VolatileDisk, opened: Map<number, OpenFile>, operation: Operation): Promise<void> {
  switch (operation.do) {
    case 'create':
      opened.set(operation.file, await disk.create(operation.path));
      return;
    case 'write':
      return opened.get(operation.file)?.write(Buffer.from(operation.base64, 'base64'));
    case 'sync':
      return opened.get(operation.file)?.sync();
    case 'rename':
      return disk.rename(operation.from, operation.to);
    case 'remove':
      return disk.remove(operation.path);
    case 'syncDirectory':
      return disk.syncDirectory();
    default:
      operation satisfies never;
  }
}

/** Nobody syncs what a shim writes: it may be there, be empty, be zeroes, or be of a boot that is over. */
export function tearRuns(home: string, random: Random): void {
  const tasks = join(home, 'tasks');
  for (const task of readdirSync(tasks)) {
    for (const run of readdirSync(join(tasks, task)).filter(name => name.startsWith('run.'))) {
      for (const file of readdirSync(join(tasks, task, run))) tearRunFile(join(tasks, task, run, file), random());
    }
  }
}

function tearRunFile(path: string, dice: number): void {
  const content = readFileSync(path, 'utf8');
  if (dice < 0.2) rmSync(path);
  else if (dice < 0.4) writeFileSync(path, '');
  else if (dice < 0.6) writeFileSync(path, Buffer.alloc(content.length));
  else if (dice < 0.8) writeFileSync(path, content.replace(/\n.*\n/, '\nan-earlier-boot\n'));
}
