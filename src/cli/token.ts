import type { Command } from 'commander';
import { type CreateTokenRequest, createTokenResultSchema } from '../model/api.ts';
import { collectLabels, parseDuration, parseName, parseWhole } from './arguments.ts';
import { type OutputOptions, printAs, withOutput } from './output.ts';
import { printTime } from './readable.ts';
import { openSession } from './session.ts';
import { print, remark, type Shell } from './shell.ts';

interface CreateOptions extends OutputOptions {
  readonly uses: number;
  readonly ttl: number;
  readonly node?: string;
  readonly label?: Record<string, string>;
}

/** `mesolite token create` */
export function addToken(program: Command, shell: Shell): void {
  const command = program
    .command('token')
    .description('let nodes join')
    .command('create')
    .description('print a string for `mesolite agent --join`; it is shown once')
    .option('--uses <number>', 'so many nodes may join with it', parseWhole(1, 10_000), 1)
    .option('--ttl <duration>', 'for so long', parseDuration, 3_600_000)
    .option('--node <id>', 'only the node of this id, which it may replace', parseName)
    .option('--label <key=value>', 'given to the nodes; may be repeated', collectLabels);
  withOutput(command).action(async (options: CreateOptions) => {
    const answer = await openSession(shell, command).post(
      '/v1/join-tokens',
      requestOf(options),
      createTokenResultSchema,
    );
    printAs(shell, options.output, answer, () => {
      // alone on standard output: JOIN=$(mesolite token create)
      print(shell, answer.join);
      const nodes = options.uses === 1 ? 'one node' : `${options.uses} nodes`;
      remark(shell, `good for ${nodes} until ${printTime(answer.expiresAt)} UTC: mesolite agent --join STRING`);
    });
  });
}

function requestOf({ uses, ttl, node, label }: CreateOptions): CreateTokenRequest {
  return { uses, ttlMs: Math.round(ttl), labels: label ?? {}, ...(node !== undefined && { node }) };
}
