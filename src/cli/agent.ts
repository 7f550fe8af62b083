import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { collectLabels, parseDuration, parseName, parsePort, parsePortRange } from './arguments.ts';
import { type JoinFileOptions, readJoinFile, withJoinFile } from './join-string.ts';
import { logLevels } from './master.ts';
import type { AgentOptions, StartRole } from './roles.ts';
import type { Shell } from './shell.ts';

interface Flags extends Omit<AgentOptions, 'dataDir' | 'labels' | 'offlineGraceMs'>, JoinFileOptions {
  readonly data: string;
  readonly label?: Record<string, string>;
  readonly offlineGrace?: number;
}

/** `mesolite agent` */
export function addAgent(program: Command, shell: Shell, start: StartRole<AgentOptions>): void {
  const command = program
    .command('agent')
    .description('run tasks on this node and front them with the mesh proxy, until Ctrl-C; tasks go on without it')
    .option('--data <dir>', 'where its identity, tasks and policy are kept', '.mesolite/agent')
    .addOption(new Option('--join <string>', 'what `mesolite token create` printed').env('MESOLITE_JOIN'))
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
    .addOption(new Option('--log-level <level>', 'how much to say').choices(logLevels).default('info'));
  withJoinFile(command).action(({ data, joinFile, tokenFile, label, join: given, offlineGrace, ...options }: Flags) => {
    const join = readJoinFile({ ...(joinFile && { joinFile }), ...(tokenFile && { tokenFile }) }) ?? given;
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
