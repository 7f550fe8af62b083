import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { MesoliteError } from '../base/errors.ts';
import { decodeJson } from '../base/shape.ts';
import {
  type FirmwareProfile,
  type Inventory,
  matchPatterns,
  type ProfileMatch,
  profileProblem,
  profileSchema,
} from '../model/profile.ts';
import { defaultRuntime } from '../model/runtime.ts';
import { explain } from './file-errors.ts';

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
  proxy: { maxConnections: 1024, maxUpstreamConnections: 256, decisionCacheEntries: 4096, buffersMb: 8 },
  runtime: { ...defaultRuntime, heapMb: 128 },
  flashWear: {
    medium: 'microSD card of 16 GB',
    bytesPerDay: 20_000_000,
    enduranceGb: 800,
    source: 'as for a Raspberry Pi',
  },
  traps: [],
};

/**
 * Reads every `*.json` of the folders but `schema.json`; of two with one name that of the later folder counts. Throws INVALID_INPUT naming
 * file and path, START_FAILED without a folder.
 */
export async function loadProfiles(...folders: readonly string[]): Promise<FirmwareProfile[]> {
  return mergeProfiles(...(await Promise.all(folders.map(readFolder))));
}

/** Of two with one name that of the later list counts. */
export function mergeProfiles(...lists: readonly (readonly FirmwareProfile[])[]): FirmwareProfile[] {
  return [...new Map(lists.flat().map(profile => [profile.name, profile])).values()];
}

async function readFolder(folder: string): Promise<FirmwareProfile[]> {
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

/**
 * The profile that was asked for by name, where there is one; else that of the board: of those that match the one with the highest precedence
 * (then the first by name), else `unknownBoard`.
 */
export function chooseProfile(
  inventory: Inventory,
  profiles: readonly FirmwareProfile[],
  asked?: string,
): FirmwareProfile {
  const named = profiles.find(({ name }) => name === asked);
  if (named !== undefined) return named;
  const [best = unknownBoard] = profiles
    .filter(profile => whyNot(profile, inventory) === undefined)
    .sort((a, b) => b.precedence - a.precedence || (a.name < b.name ? -1 : 1));
  return best;
}

/** What keeps a profile from this board: for each entry of `match` the first thing that does not hold; nothing when it matches. */
export function whyNot({ match }: FirmwareProfile, inventory: Inventory): string | undefined {
  const reasons = match.map(entry => mismatch(entry, inventory));
  return reasons.includes(undefined) ? undefined : reasons.join('; ');
}

/** The first thing that the match names and that does not hold for this board. */
function mismatch(match: ProfileMatch, inventory: Inventory): string | undefined {
  for (const field of matchPatterns) {
    const pattern = match[field];
    if (pattern === undefined || new RegExp(pattern).test(inventory[field])) continue;
    return `${field} is ${inventory[field] === '' ? 'not told' : inventory[field]}`;
  }
  const { arch = inventory.arch, virtual = inventory.virtual } = match;
  const { minMemoryMb = 0, maxMemoryMb = Number.POSITIVE_INFINITY } = match;
  if (arch !== inventory.arch) return `arch is ${inventory.arch}`;
  if (virtual !== inventory.virtual) return inventory.virtual ? 'it is virtual' : 'it is not virtual';
  const fits = inventory.memoryMb >= minMemoryMb && inventory.memoryMb <= maxMemoryMb;
  return fits ? undefined : `it has ${inventory.memoryMb} MB of memory`;
}

function checkProfile(path: string, profile: FirmwareProfile): FirmwareProfile {
  if (`${profile.name}.json` !== basename(path)) {
    throw new MesoliteError('INVALID_INPUT', `${path}: name: expected the name of the file, got ${profile.name}`);
  }
  const problem = profileProblem(profile);
  if (problem !== undefined) throw new MesoliteError('INVALID_INPUT', `${path}: ${problem}`);
  return profile;
}

async function listFolder(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    throw new MesoliteError('START_FAILED', `cannot read the profiles in ${folder}: ${explain(cause)}`, { cause });
  }
}
