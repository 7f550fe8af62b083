import type { Command } from 'commander';
import { MesoliteError } from '../base/errors.ts';
import {
  type RolloutCommand,
  type RolloutView,
  rolloutCommands,
  rolloutListSchema,
  rolloutViewSchema,
} from '../model/rollout.ts';
import type { ApiClient } from './api-client.ts';
import { rolloutColumns } from './columns.ts';
import { type OutputOptions, printAs, printRows, withOutput } from './output.ts';
import { shorten } from './readable.ts';
import { rolloutDetails, rolloutLine, standing } from './rollout-text.ts';
import { openSession } from './session.ts';
import { print, type Shell } from './shell.ts';

interface StatusOptions extends OutputOptions {
  readonly watch: boolean;
}

const watchEveryMs = 1_000;
const maxNames = 80;
/** Of a terminal that does not tell. */
const usualColumns = 80;
const does: Readonly<Record<RolloutCommand, readonly [what: string, done: string]>> = {
  pause: ['keep a rollout where it is; it is watched on, and rolls back when it must', 'paused'],
  resume: ['let a paused rollout go on', 'resumed'],
  abort: ['end a rollout: all nodes get back what they had', 'aborted'],
};

/** `mesolite rollout status|list|pause|resume|abort` */
export function addRollout(program: Command, shell: Shell): void {
  const rollout = program.command('rollout').description('follow and steer how policies go through the fleet');
  addStatus(rollout, shell);
  const list = rollout.command('list').description('list rollouts, newest first');
  withOutput(list, ['table', 'wide', 'json', 'yaml']).action(async ({ output }: OutputOptions) => {
    const answer = await openSession(shell, list).get('/v1/rollouts', rolloutListSchema);
    printAs(shell, output, answer, () => printRows(shell, output, rolloutColumns, answer.rollouts, 'rollouts'));
  });
  for (const word of rolloutCommands) {
    const [what, done] = does[word];
    const command = rollout.command(word).argument('[name]', 'the one under way by default');
    command.description(what).action(async (name: string | undefined) => {
      const api = openSession(shell, command);
      const { name: meant } = await findRollout(api, name);
      await api.post(`/v1/rollouts/${meant}/${word}`, {}, rolloutViewSchema);
      print(shell, `rollout ${meant} ${done}`);
    });
  }
}

function addStatus(rollout: Command, shell: Shell): void {
  const status = rollout
    .command('status')
    .argument('[name]', 'the newest by default')
    .description('how a rollout stands; exit code 1 where it came to another end than success')
    .option('-w, --watch', 'follow it to its end', false);
  withOutput(status).action(async (name: string | undefined, { output, watch }: StatusOptions) => {
    const api = openSession(shell, status);
    const view = watch ? await follow(api, shell, await findRollout(api, name), output) : await findRollout(api, name);
    printAs(shell, output, view, () => {
      for (const line of rolloutDetails(view)) print(shell, line);
    });
    if (view.endedAt === null || view.phase === 'succeeded') return;
    throw new MesoliteError('CONFLICT', `rollout ${view.name} ${standing(view)}`);
  });
}

/** A bar that is drawn anew on a terminal; a line for each change elsewhere. */
async function follow(api: ApiClient, shell: Shell, first: RolloutView, output: string): Promise<RolloutView> {
  const isTerminal = 'isTTY' in shell.stderr && shell.stderr.isTTY === true;
  let view = first;
  let shown = '';
  for (;;) {
    const line = rolloutLine(view, { bar: isTerminal });
    if (isTerminal) shell.stderr.write(`\r\x1b[K${shorten(line, columnsOf(shell) - 1)}`);
    else if (line !== shown && output === 'table') print(shell, line);
    shown = line;
    if (view.endedAt !== null || !(await shell.sleep(watchEveryMs))) break;
    view = await findRollout(api, view.name);
  }
  if (isTerminal) shell.stderr.write('\n');
  return view;
}

/** A line that is wider goes on in the next one, and could not be drawn anew. */
function columnsOf({ stderr }: Shell): number {
  return 'columns' in stderr && typeof stderr.columns === 'number' ? stderr.columns : usualColumns;
}

/** The rollout of that name, else the newest; throws NOT_FOUND. */
export async function findRollout(api: ApiClient, name: string | undefined): Promise<RolloutView> {
  const { rollouts } = await api.get('/v1/rollouts', rolloutListSchema);
  const found = name === undefined ? rollouts[0] : rollouts.find(each => each.name === name);
  if (found !== undefined) return found;
  if (name === undefined) throw new MesoliteError('NOT_FOUND', 'there was no rollout yet');
  const known = shorten(rollouts.map(each => each.name).join(', '), maxNames);
  throw new MesoliteError('NOT_FOUND', `there is no rollout ${name}${known === '' ? '' : `: there are ${known}`}`);
}
