import type { Command } from 'commander';
import { MesoliteError } from '../base/errors.ts';
import { decodeJson } from '../base/shape.ts';
import { readInventory } from '../device/inventory.ts';
import { chooseProfile, loadProfiles, mergeProfiles, whyNot } from '../device/profiles.ts';
import type { OperatorDocument } from '../model/document.ts';
import { type FirmwareProfile, type Inventory, inventorySchema } from '../model/profile.ts';
import { collect, parseName } from './arguments.ts';
import { decodeAll } from './document-checks.ts';
import { readDocumentFiles, readFile } from './document-files.ts';
import { type OutputOptions, printAs, printRows, withOutput } from './output.ts';
import { print, type Shell } from './shell.ts';
import type { Column } from './table.ts';

interface TestOptions extends OutputOptions {
  readonly profiles?: string;
  readonly file?: readonly string[];
  readonly expect?: string;
}

/** `mesolite profiles inventory` and `mesolite profiles test [FILE]` */
export function addProfiles(program: Command, shell: Shell, shipped: string): void {
  const profiles = program.command('profiles').description('how boards are recognised; needs no master');
  profiles
    .command('inventory')
    .description('what this board says of itself, as `profiles test` reads it')
    .action(async () => print(shell, JSON.stringify((await readInventory()).inventory, undefined, 2)));
  const test = profiles
    .command('test')
    .description('which profile a board gets, and why not the others')
    .argument('[file]', 'what `profiles inventory` printed on the board; when left out, this board')
    .option('--profiles <dir>', 'folder with profiles of your own, beside those that come with this program')
    .option(
      '-f, --file <path>',
      'what if the Profiles in it were applied: file, directory or -; may be repeated',
      collect,
    )
    .option('--expect <name>', 'end with 1 when it is another profile', parseName);
  withOutput(test).action((file: string | undefined, options: TestOptions) =>
    testProfiles(shell, shipped, file, options),
  );
}

interface Row {
  readonly name: string;
  readonly precedence: number;
  readonly chosen: boolean;
  /** Absent where it matches. */
  readonly whyNot?: string;
}

const columns: readonly Column<Row>[] = [
  { head: 'PROFILE', cell: ({ name }) => name },
  { head: 'PRECEDENCE', cell: ({ precedence }) => String(precedence), align: 'right' },
  { head: '', cell: ({ chosen, whyNot }) => (chosen ? 'chosen' : whyNot === undefined ? 'matches' : 'no') },
  { head: 'WHY NOT', cell: ({ whyNot }) => whyNot ?? '' },
];

async function testProfiles(
  shell: Shell,
  shipped: string,
  file: string | undefined,
  { profiles: folder, file: files, expect, output }: TestOptions,
): Promise<void> {
  const inventory = file === undefined ? (await readInventory()).inventory : inventoryIn(file);
  const applied = files === undefined ? [] : decodeAll(await readDocumentFiles(files, shell)).flatMap(profileIn);
  const own = folder === undefined ? [] : await loadProfiles(folder);
  const profiles = mergeProfiles(await loadProfiles(shipped), applied, own);
  const chosen = chooseProfile(inventory, profiles);
  const rows = profiles.map(profile => rowOf(profile, inventory, chosen)).sort(bestFirst);
  printAs(shell, output, { profile: chosen.name, profiles: rows }, () => {
    printRows(shell, output, columns, rows, 'profiles');
    print(shell, `\n${chosen.name}: ${chosen.title}`);
  });
  if (expect !== undefined && expect !== chosen.name) {
    throw new MesoliteError('CONFLICT', `${file ?? 'this board'}: expected the profile ${expect}, got ${chosen.name}`);
  }
}

function profileIn(document: OperatorDocument): FirmwareProfile[] {
  return document.kind === 'Profile' ? [{ name: document.metadata.name, ...document.spec }] : [];
}

function rowOf(profile: FirmwareProfile, inventory: Inventory, chosen: FirmwareProfile): Row {
  const reason = whyNot(profile, inventory);
  const { name, precedence } = profile;
  return { name, precedence, chosen: profile === chosen, ...(reason !== undefined && { whyNot: reason }) };
}

function bestFirst(a: Row, b: Row): number {
  const rank = ({ chosen, whyNot }: Row) => (chosen ? 0 : whyNot === undefined ? 1 : 2);
  return rank(a) - rank(b) || b.precedence - a.precedence || (a.name < b.name ? -1 : 1);
}

const bounds = { maxBytes: 64 * 1024, maxDepth: 4 };

function inventoryIn(file: string): Inventory {
  return decodeJson(inventorySchema, readFile(file, bounds.maxBytes), file, bounds);
}
