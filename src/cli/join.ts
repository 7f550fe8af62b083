import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { collectLabels, parseName } from './arguments.ts';
import { usageError } from './exit-codes.ts';
import { type JoinFileOptions, readJoinFile, withJoinFile } from './join-string.ts';
import { logLevels } from './master.ts';
import type { CliParts, JoinOptions } from './roles.ts';
import { print, type Shell } from './shell.ts';

interface Flags extends Omit<JoinOptions, 'dataDir' | 'labels' | 'join'>, JoinFileOptions {
  readonly data: string;
  readonly label?: Record<string, string>;
}

/** `mesolite join STRING` */
export function addJoin(program: Command, shell: Shell, joinFleet: CliParts['joinFleet']): void {
  const command = program
    .command('join [string]')
    .description('join with what `mesolite token create` printed, and end: the agent that starts later needs no secret')
    .option('--data <dir>', 'where its identity, tasks and policy are kept', '.mesolite/agent')
    .option('--node <id>', 'how this node is called; when left out as before, or by its host name', parseName)
    .option('--profile <name>', 'firmware profile, when the board should not be recognised', parseName)
    .option('--profiles <dir>', 'folder with firmware profiles of your own, beside those that come with this program')
    .option('--label <key=value>', 'label of this node, where the token wants one; may be repeated', collectLabels)
    .option('--replace', 'give up the identity that this node has, as after a quarantine', false)
    .addOption(new Option('--log-level <level>', 'how much to say').choices(logLevels).default('warn'));
  withJoinFile(command).action(async (given: string | undefined, flags: Flags) => {
    const { data, label, joinFile: _, tokenFile: __, ...options } = flags;
    const inFile = readJoinFile(flags);
    if (given !== undefined && inFile !== undefined) throw usageError('expected STRING or --token-file, not both');
    const join = given ?? inFile ?? shell.env.MESOLITE_JOIN;
    if (join === undefined) throw usageError('expected STRING, --token-file or $MESOLITE_JOIN');
    const labels = label === undefined ? {} : { labels: label };
    const joined = await joinFleet({ dataDir: resolve(data), join, ...labels, ...options }, shell.signal);
    print(shell, `${joined.node} has joined ${joined.trustDomain}. Start its agent, again if it runs already:`);
    print(shell, `  mesolite agent --data ${resolve(data)}`);
  });
}
