import type { Command } from 'commander';
import { type JobUpdateCommand, jobUpdateCommands, jobUpdateViewSchema } from '../model/job-update.ts';
import { parseName } from './arguments.ts';
import { openSession } from './session.ts';
import { print, type Shell } from './shell.ts';

const does: Readonly<Record<JobUpdateCommand, readonly [what: string, done: string]>> = {
  promote: ['let the canaries of an update be followed by all other tasks', 'is promoted'],
  revert: ['end an update: the version before comes back, step by step', 'goes back'],
};

/** `mesolite job promote|revert NAME` */
export function addJob(program: Command, shell: Shell): void {
  const job = program.command('job').description('steer the update of a job');
  for (const word of jobUpdateCommands) {
    const [what, done] = does[word];
    const command = job
      .command(word)
      .description(what)
      .argument('<name>', 'of the job', parseName)
      .option('-n, --namespace <name>', 'of the job', parseName, 'default');
    command.action(async (name: string, { namespace }: { readonly namespace: string }) => {
      await openSession(shell, command).post(`/v1/jobs/${namespace}/${name}/${word}`, {}, jobUpdateViewSchema);
      print(shell, `job ${namespace}/${name} ${done}`);
    });
  }
}
