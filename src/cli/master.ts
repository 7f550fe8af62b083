import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { collect, parseDuration, parseName, parsePort } from './arguments.ts';
import { type AuthorityFlags, addAuthorityOptions, withAuthority } from './authority-options.ts';
import type { AuthorityOptions, LogLevel, MasterOptions, StartRole } from './roles.ts';
import type { Shell } from './shell.ts';

interface Flags extends Omit<MasterOptions, 'dataDir' | 'offlineGraceMs' | keyof AuthorityOptions>, AuthorityFlags {
  readonly data: string;
  readonly offlineGrace?: number;
}

export const logLevels: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** `mesolite master` */
export function addMaster(program: Command, shell: Shell, start: StartRole<MasterOptions>): void {
  const command = program
    .command('master')
    .description('keep a fleet: broker, API, scheduler and authority in one process, until Ctrl-C')
    .option('--data <dir>', 'where all that it must not forget is kept', '.mesolite/master')
    .option('--host <address>', 'address to listen on')
    .option('--api-port <port>', 'port of the HTTPS API', parsePort)
    .option('--mqtt-port <port>', 'port of the MQTT broker', parsePort)
    .option('--advertise <name>', 'name or address at which nodes and operators reach it; may be repeated', collect)
    .option('--trust-domain <name>', 'trust domain of the mesh; only chosen at the first start')
    .option('--root-namespace <name>', 'policies in it hold for every namespace', parseName)
    .option(
      '--offline-grace <duration>',
      'a node whose certificate expired so long ago may still come back and renew it (default 7d, at most 90d)',
      parseDuration,
    )
    .addOption(new Option('--mesh-default <verdict>', 'what holds where no policy speaks').choices(['allow', 'deny']))
    .addOption(new Option('--log-level <level>', 'how much to say').choices(logLevels).default('info'));
  addAuthorityOptions(command).action(({ data, offlineGrace: offlineGraceMs, ...flags }: Flags) =>
    start(
      {
        dataDir: resolve(data),
        ...withAuthority(flags, shell),
        ...(offlineGraceMs !== undefined && { offlineGraceMs }),
      },
      shell.signal,
    ),
  );
}
