import { MesoliteError, messageOf } from '../base/errors.ts';

const words: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'may not be read',
  EISDIR: 'is a directory',
};

/** What kept a file from being read, for who named it: INVALID_INPUT, `cases.yaml: no such file`. */
export function unreadable(file: string, cause: unknown): MesoliteError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  return new MesoliteError('INVALID_INPUT', `${file}: ${words[code] ?? messageOf(cause)}`, { cause });
}
