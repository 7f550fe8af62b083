import { statSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import * as v from 'valibot';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { decodeJson } from '../base/shape.ts';
import type { Files } from '../device/files.ts';
import { type CheckedInventory, readInventory } from '../device/inventory.ts';
import { currentBoot, hasProc } from '../device/process-identity.ts';
import { encodeMessage } from '../model/message.ts';
import { inventorySchema } from '../model/profile.ts';

const fileName = 'board';
const text = v.pipe(v.string(), v.maxLength(512));
const storedSchema = v.object({
  of: text,
  inventory: inventorySchema,
  warnings: v.pipe(v.array(text), v.maxLength(16)),
});

/**
 * The board, which is read once after each start of the machine, by each version of the agent and of the system: `systeminformation` starts
 * some thirty programs for it, most of a second of CPU on a server and more on a board, before an agent can join.
 */
export async function openBoardFacts(
  { files, log, version }: { readonly files: Files; readonly log: Log; readonly version: string },
  read = readInventory,
): Promise<CheckedInventory> {
  const of = `${version} ${currentBoot()} ${availableParallelism()} ${totalmem()} ${osReleaseTime()}`;
  const known = await stored(files, log);
  if (known?.of === of && hasProc()) return known;
  const { inventory, warnings, isPartial } = await read();
  if (isPartial) return { inventory, warnings, isPartial };
  await files.write(fileName, encodeMessage({ of, inventory, warnings })).catch(error => {
    log.warn('what this board is could not be kept', { reason: messageOf(error) });
  });
  return { inventory, warnings };
}

/** Another one when the system was upgraded. */
function osReleaseTime(): number {
  return statSync('/etc/os-release', { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

async function stored(files: Files, log: Log) {
  try {
    const found = await files.read(fileName);
    return found && decodeJson(storedSchema, found.value, fileName);
  } catch (error) {
    log.warn('what is kept of this board cannot be read', { reason: messageOf(error) });
    return undefined;
  }
}
