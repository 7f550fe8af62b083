import * as v from 'valibot';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { decodeJson } from '../base/shape.ts';
import type { Files } from '../device/files.ts';
import { loadProfiles, mergeProfiles } from '../device/profiles.ts';
import { type FirmwareProfile, knownProfile, profileSchema } from '../model/profile.ts';
import type { AgentConfig } from './config.ts';
import type { PolicySet } from './policy.ts';

const fileName = 'profiles';
/** A newer version of the agent may have written it, which has given way to this one. */
const storedSchema = v.array(v.pipe(v.unknown(), v.transform(knownProfile), profileSchema));
const bounds = { maxBytes: 4 * 1024 * 1024, maxDepth: 10 };

/** The firmware profiles that operators have applied. */
export function appliedIn({ of }: PolicySet): readonly FirmwareProfile[] {
  return of('Profile').map(({ metadata, spec }) => ({ name: metadata.name, ...spec }));
}

/** Those that held when this was written last: what a start goes by before it has read its policies. */
export async function readApplied(files: Pick<Files, 'read'>, log: Log): Promise<readonly FirmwareProfile[]> {
  try {
    const stored = await files.read(fileName);
    return stored === undefined ? [] : decodeJson(storedSchema, stored.value, fileName, bounds);
  } catch (error) {
    log.warn('the applied firmware profiles cannot be read', { reason: messageOf(error) });
    return [];
  }
}

export async function keepApplied(files: Files, profiles: readonly FirmwareProfile[]): Promise<void> {
  if (profiles.length === 0) await files.remove(fileName);
  else await files.write(fileName, Buffer.from(JSON.stringify(profiles)));
}

/** What this node chooses from: what comes with this program, before it what is applied, before that the operator's own folder. */
export async function profilesFor(
  { profilesDir, profiles }: Pick<AgentConfig, 'profilesDir' | 'profiles'>,
  applied: readonly FirmwareProfile[],
): Promise<FirmwareProfile[]> {
  const own = profiles === undefined ? [] : await loadProfiles(profiles);
  return mergeProfiles(await loadProfiles(profilesDir), applied, own);
}
