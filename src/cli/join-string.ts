import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { unreadable } from './file-words.ts';

/** Where a join string may stand instead of on the command line: nobody sees a file in the process list. */
export interface JoinFileOptions {
  readonly joinFile?: string;
  readonly tokenFile?: string;
}

export function withJoinFile(command: Command): Command {
  const description = 'a file with that string: unlike an argument, nobody sees it in the process list';
  return command
    .addOption(new Option('--join-file <file>', description).conflicts('join'))
    .addOption(new Option('--token-file <file>', 'the same as --join-file').conflicts(['join', 'joinFile']));
}

/** The string in that file, if one was named; throws INVALID_INPUT. */
export function readJoinFile({ joinFile, tokenFile = joinFile }: JoinFileOptions): string | undefined {
  if (tokenFile === undefined) return undefined;
  try {
    return readFileSync(tokenFile, 'utf8').trim();
  } catch (cause) {
    throw unreadable(tokenFile, cause);
  }
}
