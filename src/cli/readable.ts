import { fromMilli, type Resources } from '../model/resources.ts';

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** A length of time in its largest fitting unit, as kubectl does: 45s, 3m, 26h, 5d. */
export function printDuration(ms: number): string {
  if (ms < second) return `${Math.max(0, Math.round(ms))}ms`;
  if (ms < 2 * minute) return `${Math.floor(ms / second)}s`;
  if (ms < 2 * hour) return `${Math.floor(ms / minute)}m`;
  if (ms < 2 * day) return `${Math.floor(ms / hour)}h`;
  return `${Math.floor(ms / day)}d`;
}

/** How long ago; whole seconds, since clocks differ by more than that. */
export function printAge(at: number, now: number): string {
  return printDuration(Math.max(0, Math.floor((now - at) / second) * second)).replace(/^0ms$/, '0s');
}

/** When something to come is reckoned with: `in 3m`, or `now` when that has passed. */
export function printAhead(at: number, now: number): string {
  return at <= now ? 'now' : `in ${printAge(now, at)}`;
}

/** UTC to the second, as 2030-01-02 03:04:05. */
export function printTime(at: number): string {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? '-' : date.toISOString().slice(0, 19).replace('T', ' ');
}

/** In milli-units; 0 where there is none. */
export function scalar(resources: Resources, name: string): number {
  return resources.scalars[name] ?? 0;
}

/** `0.5/4`: cores of cores. */
export function printCores(part: number, whole: number): string {
  return `${plain(fromMilli(part))}/${plain(fromMilli(whole))}`;
}

/** `512/3900 MB` */
export function printMegabytes(part: number, whole: number): string {
  return `${Math.round(fromMilli(part))}/${Math.round(fromMilli(whole))} MB`;
}

/** At most two decimals, none where there are none. */
export function plain(amount: number): string {
  return String(Number(amount.toFixed(2)));
}

/** What others wrote, made harmless for a terminal: control and direction characters are shown, not obeyed. */
export function visible(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, sign =>
    sign === '\n' ? '\\n' : sign === '\t' ? ' ' : `\\u${(sign.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}

/** At most `length` characters, with an ellipsis where something is cut off. */
export function shorten(text: string, length: number): string {
  const signs = [...text];
  return signs.length <= length ? text : `${signs.slice(0, length - 1).join('')}…`;
}
