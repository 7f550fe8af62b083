import * as v from 'valibot';
import { count } from './duration.ts';

const megabytes = v.pipe(v.number(), v.minValue(1, 'expected 1 or more'), v.maxValue(4_194_304));

/** What a task is held to where that is not what it needs, as Mesos' `limits`; `memHigh` is where the kernel begins to slow it down. */
export const limitsSchema = v.strictObject({
  cpus: v.optional(v.pipe(v.number(), v.minValue(0.01, 'expected 0.01 or more'), v.maxValue(1024))),
  mem: v.optional(megabytes),
  memHigh: v.optional(megabytes),
  pids: v.optional(count(1, 4_194_304)),
});
