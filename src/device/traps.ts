import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Does a clock go on here while the board has no power? */
export function hasRealTimeClock(root = '/'): boolean {
  try {
    return readdirSync(join(root, 'sys/class/rtc')).length > 0;
  } catch {
    return false;
  }
}
