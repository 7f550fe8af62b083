import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { pathNormalizations } from '../model/policy.ts';
import { collect, parseBroker, parseDuration, parseName, parsePort, parseWhole } from './arguments.ts';
import { type AuthorityFlags, addAuthorityOptions, withAuthority } from './authority-options.ts';
import type { AuthorityOptions, LogLevel, MasterOptions, StartRole } from './roles.ts';
import type { Shell } from './shell.ts';

interface Flags
  extends Omit<MasterOptions, 'dataDir' | 'broker' | 'offlineGraceMs' | 'mesosHttp' | 'audit' | keyof AuthorityOptions>,
    AuthorityFlags {
  readonly data: string;
  readonly offlineGrace?: number;
  readonly broker?: { readonly host: string; readonly port: number };
  readonly brokerJoinPort?: number;
  readonly mesosHttpPort?: number;
  readonly mesosHttpOpen?: true;
  readonly auditKeep?: number;
  readonly auditSize?: number;
}

export const logLevels: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** `mesolite master` */
export function addMaster(program: Command, shell: Shell, start: StartRole<MasterOptions>): void {
  const command = program
    .command('master')
    .description('keep a fleet: broker, API, scheduler and authority in one process, until Ctrl-C')
    .option('--data <dir>', 'where all that it must not forget is kept', '.mesolite/master')
    .option('--host <address>', 'address to listen on')
    .option('--api-port <port>', 'port of the HTTPS API (8443)', parsePort)
    .option('--mqtt-port <port>', 'port of the MQTT broker (8883)', parsePort)
    .option('--broker <url>', 'a broker that you run, as mqtts://host:8883, in place of the embedded one', parseBroker)
    .option('--broker-join-port <port>', 'its port for those who join; the next one when left out', parsePort)
    .option('--mesos-http-port <port>', 'port on 127.0.0.1 for frameworks of Mesos that speak no TLS', parsePort)
    .option(
      '--mesos-http-open',
      'there, let in whoever shows no credentials: any account of this machine may run tasks',
    )
    .option('--advertise <name>', 'name or address at which nodes and operators reach it; may be repeated', collect)
    .option('--trust-domain <name>', 'trust domain of the mesh; only chosen at the first start')
    .option('--root-namespace <name>', 'policies in it hold for every namespace', parseName)
    .option(
      '--offline-grace <duration>',
      'a node whose certificate expired so long ago may still come back and renew it (default 7d, at most 90d)',
      parseDuration,
    )
    .option('--audit-keep <duration>', 'how long the audit is kept (default 30d)', parseDuration)
    .option('--audit-size <megabytes>', 'how much of it; the oldest goes first (default 512)', parseWhole(1, 1_048_576))
    .addOption(
      new Option(
        '--task-order <order>',
        'which of the tasks of one priority goes first: the longest, so that all end sooner, or the oldest (default longestFirst)',
      ).choices(['longestFirst', 'arrival']),
    )
    .addOption(new Option('--mesh-default <verdict>', 'what holds where no policy speaks').choices(['allow', 'deny']))
    .addOption(
      new Option(
        '--path-normalization <mode>',
        'how paths are read before policies look at them (default BASE)',
      ).choices(pathNormalizations),
    )
    .addOption(new Option('--log-level <level>', 'how much to say').choices(logLevels).default('info'));
  addAuthorityOptions(command).action(
    ({ data, broker, brokerJoinPort, offlineGrace: offlineGraceMs, ...more }: Flags) => {
      const { mesosHttpPort, mesosHttpOpen = false, auditKeep, auditSize, ...flags } = more;
      if (mesosHttpOpen && mesosHttpPort === undefined) {
        throw new InvalidArgumentError('--mesos-http-open goes with --mesos-http-port');
      }
      const joinPort = brokerJoinPort ?? (broker?.port ?? 0) + 1;
      return start(
        {
          dataDir: resolve(data),
          ...withAuthority(flags, shell),
          ...(broker && { broker: { ...broker, joinPort } }),
          ...(mesosHttpPort !== undefined && { mesosHttp: { port: mesosHttpPort, isOpen: mesosHttpOpen } }),
          ...(offlineGraceMs !== undefined && { offlineGraceMs }),
          ...((auditKeep ?? auditSize) !== undefined && {
            audit: {
              ...(auditKeep !== undefined && { ms: auditKeep }),
              ...(auditSize !== undefined && { bytes: auditSize * 1024 * 1024 }),
            },
          }),
        },
        shell.signal,
      );
    },
  );
}
