import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { type AccessLogFormat, accessLogFormats } from '../model/access-line.ts';
import { type AuditSync, auditSyncs } from '../model/audit-chain.ts';
import type { CustomResources } from '../model/resources.ts';
import {
  collect,
  collectLabels,
  collectResources,
  parseAddress,
  parseDuration,
  parseName,
  parsePort,
  parsePortRange,
  parseSpeed,
  parseWhole,
} from './arguments.ts';
import { type JoinFileOptions, readJoinFile, withJoinFile } from './join-string.ts';
import { logLevels } from './master.ts';
import type { AgentOptions, StartRole } from './roles.ts';
import type { Shell } from './shell.ts';

interface Flags
  extends Omit<
      AgentOptions,
      | 'dataDir'
      | 'labels'
      | 'resources'
      | 'offlineGraceMs'
      | 'accessLog'
      | 'artifactBytes'
      | 'artifactKeys'
      | 'taskLogBytesPerSecond'
      | 'audit'
      | 'minTls'
      | 'cpuCount'
      | 'memoryMb'
      | 'metered'
      | 'dataBudgetMb'
    >,
    JoinFileOptions {
  readonly data: string;
  readonly label?: Record<string, string>;
  readonly resource?: CustomResources;
  readonly offlineGrace?: number;
  readonly tlsMin?: '1.2' | '1.3';
  readonly accessLog?: string;
  readonly accessLogFormat: AccessLogFormat;
  readonly accessLogSample: number;
  readonly accessLogRate: number;
  readonly auditAllowed?: number;
  readonly auditDisk?: number;
  readonly auditSync?: AuditSync;
  readonly artifactDisk?: number;
  readonly artifactKey?: readonly string[];
  readonly taskLogRate?: number;
  readonly cpus?: number;
  readonly memory?: number;
  readonly metered?: 'yes' | 'no';
  readonly dataBudget?: number;
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
    .option('--mesh-host <address>', 'address that the mesh proxy listens on; all of the node when left out')
    .option('--mesh-port <port>', 'port of the mesh proxy for other nodes (15008)', parsePort)
    .option(
      '--outbound-port <port>',
      "port of the mesh proxy for this node's own tasks, on 127.0.0.1 (15001)",
      parsePort,
    )
    .option('--publish-host <address>', 'address that published ports listen on; all of the node when left out')
    .addOption(
      new Option('--tls-min <version>', 'oldest TLS between proxies and for published ports').choices(['1.2', '1.3']),
    )
    .option('--ports <range>', 'ports for tasks, as 20000-20999', parsePortRange)
    .option('--task-user <name>', 'as whom tasks run, where the agent is root: then none runs as root')
    .option('--profile <name>', 'firmware profile, when the board should not be recognised', parseName)
    .option('--profiles <dir>', 'folder with firmware profiles of your own, beside those that come with this program')
    .option('--cpus <cores>', 'how many it has, where its system says something else', parseWhole(1, 4096))
    .option('--memory <megabytes>', 'likewise', parseWhole(16, 67_108_864))
    .option(
      '--speed <factor>',
      'how fast it works, where 1 takes as long as jobs say: 0.5 takes twice that',
      parseSpeed,
    )
    .addOption(
      new Option('--metered <answer>', 'is its link paid for by the byte? Found out when left out').choices([
        'yes',
        'no',
      ]),
    )
    .option(
      '--data-budget <megabytes>',
      'that agent and master may exchange in a month on such a link (default 50)',
      parseWhole(1, 1_000_000),
    )
    .option(
      '--offline-grace <duration>',
      'without a link to the master, accept certificates that expired so long ago (default 7d, at most 90d)',
      parseDuration,
    )
    .option('--access-log <file>', 'write a line about each request there')
    .addOption(new Option('--access-log-format <format>', 'how').choices(accessLogFormats).default('json'))
    .option(
      '--access-log-sample <percent>',
      'of requests that were allowed and went well; others are always written',
      parseWhole(0, 100),
      100,
    )
    .option('--access-log-rate <lines>', 'a second, at the most', parseWhole(1, 100_000), 100)
    .option(
      '--audit-allowed <percent>',
      'of requests that were allowed and went well (default 100); others are always in the audit',
      parseWhole(0, 100),
    )
    .option(
      '--audit-disk <megabytes>',
      'what may wait for the master; the oldest goes first (default 64)',
      parseWhole(1, 65_536),
    )
    .addOption(
      new Option(
        '--audit-sync <when>',
        'to the disk: at each write, only while there is no link (default), or as the system likes',
      ).choices(auditSyncs),
    )
    .option(
      '--artifact-disk <megabytes>',
      'what artifacts may take; those unused for longest go first (default 2048)',
      parseWhole(1, 16_777_216),
    )
    .option(
      '--artifact-key <key>',
      'public key of minisign: take only artifacts that it, or another of these, has signed; may be repeated',
      collect,
    )
    .option(
      '--task-log-rate <KiB>',
      'a second that are kept of each output of a task in the long run (default 64)',
      parseWhole(1, 1_048_576),
    )
    .option('--metrics <address:port>', 'serve what the proxy has counted there, for Prometheus', parseAddress)
    .option('--allow-exec', 'let operators run commands next to tasks, with `mesolite exec`')
    .option('--no-upgrade', 'run this program, whatever AgentVersion there is')
    .option('--label <key=value>', 'label of this node; may be repeated', collectLabels)
    .option(
      '--resource <name=what>',
      'what this node has for tasks: an amount (npu=1), or devices by name (gpio=17,27); may be repeated',
      collectResources,
    )
    .addOption(new Option('--log-level <level>', 'how much to say').choices(logLevels).default('info'));
  withJoinFile(command).action((flags: Flags) => start(optionsOf(flags), shell.signal));
}

function optionsOf(flags: Flags): AgentOptions {
  const { data, joinFile, tokenFile, label, resource, join: given, offlineGrace, tlsMin, accessLog, ...rest } = flags;
  const { accessLogFormat: format, accessLogSample, accessLogRate: perSecond, ...more } = rest;
  const { auditAllowed, auditDisk, auditSync: sync, artifactDisk, artifactKey, taskLogRate, ...others } = more;
  const { metered, dataBudget, cpus, memory, ...options } = others;
  const join = readJoinFile({ ...(joinFile && { joinFile }), ...(tokenFile && { tokenFile }) }) ?? given;
  return {
    dataDir: resolve(data),
    ...options,
    ...((auditAllowed ?? auditDisk ?? sync) !== undefined && {
      audit: {
        ...(auditAllowed !== undefined && { allowed: auditAllowed / 100 }),
        ...(auditDisk !== undefined && { diskBytes: auditDisk * 1024 * 1024 }),
        ...(sync !== undefined && { sync }),
      },
    }),
    ...(artifactDisk !== undefined && { artifactBytes: artifactDisk * 1024 * 1024 }),
    ...(artifactKey !== undefined && { artifactKeys: artifactKey }),
    ...(taskLogRate !== undefined && { taskLogBytesPerSecond: taskLogRate * 1024 }),
    ...(cpus !== undefined && { cpuCount: cpus }),
    ...(memory !== undefined && { memoryMb: memory }),
    ...(metered !== undefined && { metered: metered === 'yes' }),
    ...(dataBudget !== undefined && { dataBudgetMb: dataBudget }),
    ...(join !== undefined && { join }),
    ...(offlineGrace !== undefined && { offlineGraceMs: offlineGrace }),
    ...(label !== undefined && { labels: label }),
    ...(resource !== undefined && { resources: resource }),
    ...(tlsMin !== undefined && { minTls: `TLSv${tlsMin}` }),
    ...(accessLog !== undefined && {
      accessLog: { file: resolve(accessLog), format, sample: accessLogSample / 100, perSecond },
    }),
  };
}
