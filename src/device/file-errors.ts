import { MesoliteError, messageOf } from '../base/errors.ts';

/** The system's word for what went wrong, as ENOENT. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

/** Was there no room on the disk, or none that this user may have? */
export function isFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(codeOf(error) ?? '');
}

const plainWords: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left on the disk',
  EDQUOT: 'the disk quota is used up',
  ENOENT: 'it does not exist',
  ENOTDIR: 'a part of the path is not a directory',
  EEXIST: 'there is a file of that name',
  EISDIR: 'it is a directory',
  ELOOP: 'it is a link',
  EIO: 'the medium cannot be read or written',
};

/** What went wrong with a file in a few plain words. */
export function explain(error: unknown): string {
  return plainWords[codeOf(error) ?? ''] ?? messageOf(error);
}

/** START_FAILED, for a directory that somebody has to look at. */
export function cannotWriteIn(directory: string, cause: unknown): MesoliteError {
  const message = `cannot write in the directory ${directory} (${explain(cause)}): make it writable or choose another`;
  return new MesoliteError('START_FAILED', message, { cause });
}
