import * as v from 'valibot';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { decodeJson } from '../base/shape.ts';
import type { Files } from '../device/files.ts';
import { type SpeedRates, speedOf } from '../device/speed.ts';
import { encodeMessage } from '../model/message.ts';
import type { FirmwareProfile, Inventory } from '../model/profile.ts';

/** How fast this node works, beside a node of speed 1. */
export interface NodeSpeed {
  /** Undefined until it has been measured. */
  readonly value: number | undefined;
  /** Measures a board that nothing is known of; true when there is news for the master. */
  measure(signal: AbortSignal): Promise<boolean>;
}

const fileName = 'speed';
const text = v.pipe(v.string(), v.maxLength(512));
const storedSchema = v.object({ speed: v.pipe(v.number(), v.minValue(0.01), v.maxValue(100)), of: text });

/**
 * Opens what was measured here before, which holds as long as the kernel, the profile and the processor stay the same: a card is put
 * into another board. `told`, an operator's word, goes before all of it.
 */
export async function openNodeSpeed(
  parts: {
    readonly files: Files;
    readonly log: Log;
    readonly measureRates: (signal: AbortSignal) => Promise<SpeedRates>;
  },
  { inventory, profile }: { readonly inventory: Inventory; readonly profile: FirmwareProfile },
  told?: number,
): Promise<NodeSpeed> {
  const { files, log, measureRates } = parts;
  const { kernel, cpuModel, cpuCount } = inventory;
  const of = [kernel, profile.name, cpuModel, cpuCount].join(' | ');
  let value = told ?? (await readSpeed(files, of, log));

  return {
    get value() {
      return value;
    },
    async measure(signal) {
      if (value !== undefined) return false;
      try {
        const rates = await measureRates(signal);
        value = speedOf(rates);
        log.info('the speed of this node was measured', { speed: value, ...rates });
        await files.write(fileName, encodeMessage({ speed: value, of }));
      } catch (error) {
        if (!signal.aborted) log.warn('the speed of this node is not known or not kept', { reason: messageOf(error) });
      }
      return value !== undefined;
    },
  };
}

async function readSpeed(files: Files, of: string, log: Log): Promise<number | undefined> {
  try {
    const copy = await files.read(fileName);
    if (copy === undefined) return undefined;
    const stored = decodeJson(storedSchema, copy.value, fileName);
    return stored.of === of ? stored.speed : undefined;
  } catch (error) {
    log.warn('the speed of this node is measured anew', { reason: messageOf(error) });
    return undefined;
  }
}
