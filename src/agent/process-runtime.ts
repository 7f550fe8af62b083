import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { readPlainly } from '../device/file-operations.ts';
import type { Files } from '../device/files.ts';
import type { FirmwareProfile } from '../model/profile.ts';
import { flagsVariable, parseRuntime, printRuntime } from '../model/runtime.ts';

/** In the data directory: how the agent's process is started next. Its service reads it, too (scripts/package/start-agent). */
const fileName = 'runtime';
const maxBytes = 4096;

/** A process cannot change most of it for itself: the next one is started as the profile says. Writes nothing where that is known already. */
export async function keepRuntime(
  files: Pick<Files, 'write'>,
  { runtime }: Pick<FirmwareProfile, 'runtime'>,
  log: Log,
): Promise<void> {
  await files.write(fileName, Buffer.from(printRuntime(runtime))).catch(error => {
    log.warn('how the agent is to be started could not be kept', { reason: messageOf(error) });
  });
}

/** For the process that takes over from this one: what is kept, where a unit started this one by it; otherwise it is started as this one was. */
export function runtimeOfNext(dataDir: string, env: NodeJS.ProcessEnv): ReturnType<typeof parseRuntime> | undefined {
  if (env[flagsVariable] === undefined) return undefined;
  try {
    return parseRuntime(readPlain(join(dataDir, fileName)));
  } catch {
    return undefined;
  }
}

function readPlain(path: string): string {
  const file = openSync(path, readPlainly);
  try {
    const bytes = Buffer.alloc(maxBytes);
    return bytes.toString('utf8', 0, readSync(file, bytes));
  } finally {
    closeSync(file);
  }
}
