import { readdirSync, readFileSync } from 'node:fs';

/** What a file of /proc or /sys says, without the space around it; empty where there is none, or it cannot be read. */
export function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

/** The number behind `name:` where a line of such a text begins so. */
export function numberOf(text: string, name: string): number | undefined {
  const at = `\n${text}`.indexOf(`\n${name}:`);
  return at < 0 ? undefined : Number.parseInt(text.slice(at + name.length + 1), 10);
}

/** The names in a folder of /proc or /sys, sorted; none where it is not there. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
