import { type Command, Option } from 'commander';
import { hourMs } from '../base/clock.ts';
import { type CreateTokenRequest, createTokenResultSchema } from '../model/api.ts';
import { installerSchema } from '../model/installer.ts';
import { collectLabels, parseDuration, parseName, parseWhole } from './arguments.ts';
import { type OutputOptions, printAs, withOutput } from './output.ts';
import { printTime } from './readable.ts';
import { openSession } from './session.ts';
import { print, remark, type Shell } from './shell.ts';

interface CreateOptions extends OutputOptions {
  readonly uses: number;
  readonly ttl: number;
  readonly node?: string;
  readonly profile?: string;
  readonly require?: Record<string, string>;
  readonly label?: Record<string, string>;
  readonly approve?: boolean;
  readonly install?: boolean;
}

/** `mesolite token create` and `mesolite token revoke` */
export function addToken(program: Command, shell: Shell): void {
  const token = program.command('token').description('let nodes join');
  addCreate(token, shell);
  const revoke = token
    .command('revoke')
    .argument('<id>', 'as `mesolite get tokens` shows it')
    .description('let nobody join with a token any more; who has joined stays')
    .action(async (id: string) => {
      await openSession(shell, revoke).remove(`/v1/join-tokens/${encodeURIComponent(id)}`);
      print(shell, `token ${id} revoked`);
    });
}

function addCreate(token: Command, shell: Shell): void {
  const command = token
    .command('create')
    .description('print a string for `mesolite join` or `mesolite agent --join`; it is shown once')
    .option('--uses <number>', 'so many nodes may join with it', parseWhole(1, 10_000), 1)
    .addOption(new Option('--ttl <duration>', 'for so long').argParser(parseDuration).default(hourMs, '1h'))
    .option('--node <id>', 'only the node of this id, which it may replace, and free from quarantine', parseName)
    .option('--profile <name>', 'only boards of this firmware profile', parseName)
    .option('--require <key=value>', 'only nodes that are started with this label; may be repeated', collectLabels)
    .option('--label <key=value>', 'given to the nodes; may be repeated', collectLabels)
    .option('--install', 'print what to run on the new machine, which installs the agent too')
    .option('--approve', 'each node waits until an operator lets it in: `mesolite get joins`');
  withOutput(command).action(async (options: CreateOptions) => {
    const session = openSession(shell, command);
    const script = options.install === true ? await session.get('/v1/installer', installerSchema) : undefined;
    const answer = await session.post('/v1/join-tokens', requestOf(options), createTokenResultSchema);
    printAs(shell, options.output, { ...answer, ...(script && { installer: script }) }, () => {
      if (script !== undefined) {
        // who asks has no certificate of the master yet: the sum says that the script is its own
        print(shell, `curl -fsSLk ${session.server}/install.sh -o install.sh`);
        // among arguments others would see the string, and sudo would log it
        print(shell, `(umask 077; echo ${answer.join} >node.join)`);
        const named = options.node === undefined ? '' : ` -- --node ${options.node}`;
        const install = `sudo sh install.sh --join-file node.join${named}`;
        print(shell, `echo '${script.sha256}  install.sh' | sha256sum -c && ${install}`);
      }
      // alone on standard output: JOIN=$(mesolite token create)
      else print(shell, answer.join);
      const nodes = options.uses === 1 ? 'one node' : `${options.uses} nodes`;
      remark(shell, `good for ${nodes} until ${printTime(answer.expiresAt)} UTC: mesolite join STRING`);
    });
  });
}

function requestOf({ uses, ttl, node, profile, require, label, approve }: CreateOptions): Partial<CreateTokenRequest> {
  return {
    uses,
    ttlMs: Math.round(ttl),
    labels: label ?? {},
    ...(node !== undefined && { node }),
    ...(profile !== undefined && { profile }),
    ...(require !== undefined && { requires: require }),
    ...(approve === true && { approve }),
  };
}
