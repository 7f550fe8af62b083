import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { MesoliteError } from '../base/errors.ts';
import { decodeJson } from '../base/shape.ts';
import { type FirmwareProfile, type Inventory, type ProfileMatch, profileSchema } from '../model/profile.ts';
import { explain } from './files.ts';

const bounds = { maxBytes: 64 * 1024, maxDepth: 8 };
const maxProfiles = 256;

/** How a board is treated that no profile knows: carefully. */
export const unknownBoard: FirmwareProfile = {
  name: 'unknown-board',
  title: 'Any board that no profile knows',
  precedence: 0,
  match: [{}],
  reserve: { cpus: 0.2, memMb: 128, diskMb: 256 },
  heartbeatMs: 10_000,
  diskSampleMs: 60_000,
  proxy: { maxConnections: 1024, maxUpstreamConnections: 256, decisionCacheEntries: 4096 },
  traps: [],
};

/** Reads every `*.json` of a folder but `schema.json`; throws INVALID_INPUT naming file and path, START_FAILED without the folder. */
export async function loadProfiles(folder: string): Promise<FirmwareProfile[]> {
  const names = (await listFolder(folder)).filter(name => name.endsWith('.json') && name !== 'schema.json').sort();
  if (names.length > maxProfiles) {
    throw new MesoliteError('TOO_LARGE', `${folder}: ${names.length} profiles, at most ${maxProfiles} are taken`);
  }
  const profiles: FirmwareProfile[] = [];
  for (const name of names) {
    const path = join(folder, name);
    const { size } = await stat(path);
    if (size > bounds.maxBytes) {
      throw new MesoliteError('TOO_LARGE', `${path}: ${size} bytes, at most ${bounds.maxBytes} are taken`);
    }
    profiles.push(checkProfile(path, decodeJson(profileSchema, await readFile(path), path, bounds)));
  }
  return profiles;
}

/** The profile of a board: of those that match the one with the highest precedence (then the first by name), else `unknownBoard`. */
export function chooseProfile(inventory: Inventory, profiles: readonly FirmwareProfile[]): FirmwareProfile {
  const [best = unknownBoard] = profiles
    .filter(profile => profile.match.some(match => matches(match, inventory)))
    .sort((a, b) => b.precedence - a.precedence || (a.name < b.name ? -1 : 1));
  return best;
}

/** Does all that the match names hold for this board? */
function matches(match: ProfileMatch, inventory: Inventory): boolean {
  const { deviceTreeModel, dmiProduct, arch, minMemoryMb = 0, maxMemoryMb = Number.POSITIVE_INFINITY } = match;
  if (deviceTreeModel !== undefined && !new RegExp(deviceTreeModel).test(inventory.deviceTreeModel)) return false;
  if (dmiProduct !== undefined && !new RegExp(dmiProduct).test(inventory.dmiProduct)) return false;
  if (arch !== undefined && arch !== inventory.arch) return false;
  if (match.virtual !== undefined && match.virtual !== inventory.virtual) return false;
  return inventory.memoryMb >= minMemoryMb && inventory.memoryMb <= maxMemoryMb;
}

function checkProfile(path: string, profile: FirmwareProfile): FirmwareProfile {
  if (`${profile.name}.json` !== basename(path)) {
    throw new MesoliteError('INVALID_INPUT', `${path}: name: expected the name of the file, got ${profile.name}`);
  }
  profile.match.forEach((match, index) => {
    for (const field of ['deviceTreeModel', 'dmiProduct'] as const) {
      try {
        new RegExp(match[field] ?? '');
      } catch (cause) {
        const place = `${path}: match[${index}].${field}`;
        throw new MesoliteError('INVALID_INPUT', `${place}: not a regular expression: ${match[field]}`, { cause });
      }
    }
  });
  return profile;
}

async function listFolder(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    throw new MesoliteError('START_FAILED', `cannot read the profiles in ${folder}: ${explain(cause)}`, { cause });
  }
}
