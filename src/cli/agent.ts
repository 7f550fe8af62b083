import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { collectLabels, parseDuration, parseName, parsePort, parsePortRange } from './arguments.ts';
import { logLevels } from './master.ts';
import type { AgentOptions, StartRole } from './roles.ts';
import type { Shell } from './shell.ts';

interface Flags extends Omit<AgentOptions, 'dataDir' | 'labels' | 'offlineGraceMs'> {
  readonly data: string;
  readonly joinFile?: string;
  readonly label?: Record<string, string>;
  readonly offlineGrace?: number;
}

/** `mesolite agent` */
export function addAgent(program: Command, shell: Shell, start: StartRole<AgentOptions>): void {
  program
    .command('agent')
    .description('run tasks on this node and front them with the mesh proxy, until Ctrl-C; tasks go on without it')
    .option('--data <dir>', 'where its identity, tasks and policy are kept', '.mesolite/agent')
    .addOption(new Option('--join <string>', 'what `mesolite token create` printed').env('MESOLITE_JOIN'))
    .addOption(
      new Option(
        '--join-file <file>',
        'a file with that string: unlike an argument, nobody sees it in the process list',
      ).conflicts('join'),
    )
    .option('--node <id>', 'how this node is called; its host name when left out', parseName)
    .option('--address <address>', 'where other nodes reach it')
    .option('--mesh-port <port>', 'port of the mesh proxy for other nodes', parsePort)
    .option('--outbound-port <port>', "port of the mesh proxy for this node's own tasks, on 127.0.0.1", parsePort)
    .option('--ports <range>', 'ports for tasks, as 20000-20999', parsePortRange)
    .option('--profile <name>', 'firmware profile, when the board should not be recognised', parseName)
    .option(
      '--offline-grace <duration>',
      'without a link to the master, accept certificates that expired so long ago (default 7d, at most 90d)',
      parseDuration,
    )
    .option('--label <key=value>', 'label of this node; may be repeated', collectLabels)
    .addOption(new Option('--log-level <level>', 'how much to say').choices(logLevels).default('info'))
    .action(({ data, joinFile, label, join: given, offlineGrace, ...options }: Flags) => {
      const join = joinFile === undefined ? given : readJoinFile(joinFile);
      return start(
        {
          dataDir: resolve(data),
          ...options,
          ...(join !== undefined && { join }),
          ...(offlineGrace !== undefined && { offlineGraceMs: offlineGrace }),
          ...(label !== undefined && { labels: label }),
        },
        shell.signal,
      );
    });
}

function readJoinFile(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (cause) {
    throw new MesoliteError('INVALID_INPUT', `the join string cannot be read: ${messageOf(cause)}`, { cause });
  }
}
