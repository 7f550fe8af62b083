import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { parse, stringify } from 'yaml';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { decode } from '../base/shape.ts';
import { nameSchema } from '../model/ids.ts';
import { usageError } from './exit-codes.ts';
import type { Shell } from './shell.ts';

const pathSchema = v.pipe(v.string(), v.minLength(1), v.maxLength(4096));

const contextSchema = v.strictObject({
  /** `https://<host>:<port>`, without a slash at the end. */
  server: v.pipe(
    v.string(),
    v.maxLength(2048),
    v.regex(/^https:\/\/[^\s/?#]+(\/[^\s?#]*)?$/, 'expected https://<host>:<port>'),
    v.transform(url => url.replace(/\/+$/, '')),
  ),
  /** PEM of the authority that vouches for the master. */
  ca: pathSchema,
  /** A file with nothing but the operator token. */
  tokenFile: pathSchema,
});

const configSchema = v.strictObject({
  current: v.optional(nameSchema),
  contexts: v.optional(v.record(nameSchema, contextSchema), {}),
});

/** One master, and how to be let in. */
export type Context = Readonly<v.InferOutput<typeof contextSchema>>;

/** The config file of the command line. */
export type CliConfig = Readonly<v.InferOutput<typeof configSchema>>;

const maxConfigBytes = 256 * 1024;

/** `$MESOLITE_CONFIG`, or `mesolite/config.yaml` in the user's config directory. */
export function configPath({ env, homeDir }: Shell): string {
  const chosen = env.MESOLITE_CONFIG;
  if (chosen !== undefined && chosen !== '') return chosen;
  return join(env.XDG_CONFIG_HOME || join(homeDir, '.config'), 'mesolite', 'config.yaml');
}

/** An empty config where there is no file; throws INVALID_INPUT with file and path. */
export function loadConfig(path: string): CliConfig {
  let text: string;
  try {
    const { size } = statSync(path);
    if (size > maxConfigBytes) throw new MesoliteError('TOO_LARGE', `${path}: ${size} bytes is no config file`);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return { contexts: {} };
    throw new MesoliteError('INVALID_INPUT', `cannot read the config: ${messageOf(error)}`, { cause: error });
  }
  return decode(configSchema, parseConfig(text, path) ?? {}, path);
}

function parseConfig(text: string, path: string): unknown {
  try {
    return parse(text, { maxAliasCount: 0 });
  } catch (error) {
    throw new MesoliteError('INVALID_INPUT', `${path}: ${messageOf(error).split('\n')[0]}`, { cause: error });
  }
}

/** Replaces the file whole, readable by its owner alone. */
export function saveConfig(path: string, config: CliConfig): void {
  const next = `${path}.${process.pid}`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeFileSync(next, stringify(config), { mode: 0o600, flush: true });
    renameSync(next, path);
  } catch (cause) {
    throw new MesoliteError('UNAVAILABLE', `cannot write the config: ${messageOf(cause)}`, { cause });
  }
}

/** Checks what a user typed; throws INVALID_INPUT. */
export function checkContext(context: Context): Context {
  return decode(contextSchema, context, 'context');
}

/** The context of that name, of `$MESOLITE_CONTEXT`, or the current one; a usage error when there is none. */
export function chooseContext(shell: Shell, asked: string | undefined): { name: string; context: Context } {
  const path = configPath(shell);
  const config = loadConfig(path);
  const name = asked ?? (shell.env.MESOLITE_CONTEXT || config.current);
  const known = Object.keys(config.contexts);
  if (name === undefined) {
    const advice =
      known.length === 0
        ? 'mesolite context set NAME --server https://HOST:8443 --ca FILE --token-file FILE'
        : `mesolite context use ${known.join('|')}`;
    throw usageError(`no context is chosen: ${advice}`);
  }
  const context = Object.hasOwn(config.contexts, name) ? config.contexts[name] : undefined;
  if (context === undefined) {
    throw usageError(`there is no context "${name}" in ${path}; it has ${known.join(', ') || 'none'}`);
  }
  return { name, context };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}
