import { readdirSync, readFileSync } from 'node:fs';

/** What a file of /proc or /sys says, without the space around it; empty where there is none, or it cannot be read. */
export function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return '';
  }
}

/** The names in a folder of /proc or /sys, sorted; none where it is not there. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
