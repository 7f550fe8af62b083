import { InvalidArgumentError } from 'commander';
import * as v from 'valibot';
import { durationSchema } from '../model/duration.ts';
import { nameSchema } from '../model/ids.ts';
import { type CustomResources, customResourcesSchema } from '../model/resources.ts';

// What stands behind an option on the command line becomes a value here, or a usage error that says what was expected.

export function parsePort(text: string): number {
  return parseWhole(0, 65_535)(text);
}

/** `mqtts://host:8883`; the port may be left out. */
export function parseBroker(text: string): { readonly host: string; readonly port: number } {
  const [, bracketed, plain = '', digits = '8883'] =
    /^mqtts:\/\/(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]{1,253}))(?::(\d{1,5}))?\/?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === '' || port < 1 || port > 65_535) throw new InvalidArgumentError('expected mqtts://host:port');
  return { host, port };
}

/** `127.0.0.1:15090`, `[::1]:15090`; without an address on 127.0.0.1. */
export function parseAddress(text: string): { readonly host: string; readonly port: number } {
  const [, bracketed, plain, digits = ''] =
    /^(?:(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]{1,253})):)?(\d{1,5})$/.exec(text) ?? [];
  if (digits === '' || Number(digits) > 65_535) throw new InvalidArgumentError('expected address:port');
  return { host: bracketed ?? plain ?? '127.0.0.1', port: Number(digits) };
}

export function parseWhole(min: number, max: number): (text: string) => number {
  return text => {
    const number = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (!(number >= min && number <= max)) throw new InvalidArgumentError(`expected ${min} to ${max}`);
    return number;
  };
}

/** `0.4`: from a thousandth to a thousand. */
export function parseSpeed(text: string): number {
  const speed = /^\d{1,4}(\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (!(speed >= 0.001 && speed <= 1000)) throw new InvalidArgumentError('expected 0.001 to 1000');
  return speed;
}

/** `20000-20999`, both included. */
export function parsePortRange(text: string): { readonly begin: number; readonly end: number } {
  const [, begin = '0', end = '0'] = /^(\d{1,5})-(\d{1,5})$/.exec(text) ?? [];
  const range = { begin: Number(begin), end: Number(end) };
  if (range.begin < 1 || range.end > 65_535 || range.begin > range.end) {
    throw new InvalidArgumentError('expected a range of ports as 20000-20999');
  }
  return range;
}

/** `90s` and the like, in milliseconds. */
export function parseDuration(text: string): number {
  return checked(durationSchema, text);
}

/** `90s` and the like, as it was written. */
export function checkDuration(text: string): string {
  checked(durationSchema, text);
  return text;
}

export function parseName(text: string): string {
  return checked(nameSchema, text);
}

/** A moment in milliseconds since 1970: so long ago (`1h`), or a date (`2030-01-02T03:04:05Z`). */
export function parseSince(now: () => number): (text: string) => number {
  return text => {
    const ago = v.safeParse(durationSchema, text);
    if (ago.success) return Math.max(0, Math.floor(now() - ago.output));
    const date = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
    if (Number.isNaN(date)) throw new InvalidArgumentError('expected 30m, 1h, 7d or a date as 2030-01-02T03:04:05Z');
    return Math.max(0, date);
  };
}

/** A moment to come: so long from now (`2h`), or a date. */
export function parseMoment(now: () => number): (text: string) => number {
  return text => {
    const ahead = v.safeParse(durationSchema, text);
    if (ahead.success) return Math.floor(now() + ahead.output);
    const date = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
    if (Number.isNaN(date)) throw new InvalidArgumentError('expected 30m, 2h, 7d or a date as 2030-01-02T03:04:05Z');
    return date;
  };
}

/** Gathers `--label zone=a --label rack=2`. */
export function collectLabels(text: string, before: Readonly<Record<string, string>> = {}): Record<string, string> {
  const [, key, value] = /^([A-Za-z0-9][A-Za-z0-9._/-]{0,252})=(.{0,253})$/.exec(text) ?? [];
  if (key === undefined || value === undefined) throw new InvalidArgumentError('expected a label as zone=a');
  return { ...before, [key]: value };
}

/** Gathers `--resource npu=1 --resource gpio=17,27`: a number is an amount, words are devices; a list of one ends in a comma. */
export function collectResources(text: string, before: CustomResources = {}): CustomResources {
  const [, name = '', value = ''] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  const isAmount = /^-?\d+(\.\d+)?$/.test(value);
  const words = value.split(',').filter(word => word !== '');
  const { scalars, sets } = before;
  return checked(
    customResourcesSchema,
    isAmount
      ? { ...before, scalars: { ...scalars, [name]: Number(value) } }
      : { ...before, sets: { ...sets, [name]: words } },
  );
}

/** Gathers an option that may be given several times. */
export function collect(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}

function checked<S extends v.GenericSchema>(schema: S, value: unknown): v.InferOutput<S> {
  const result = v.safeParse(schema, value);
  if (!result.success) throw new InvalidArgumentError(result.issues[0].message);
  return result.output;
}
