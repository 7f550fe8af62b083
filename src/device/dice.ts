import { randomUUID } from 'node:crypto';
import type { Random } from '../base/random.ts';

/** The real dice: for jitter and choice, never for secrets. */
export const systemRandom: Random = () => Math.random();

/** A new name that nothing else has: a UUID of version 4. */
export function newId(): string {
  return randomUUID();
}
