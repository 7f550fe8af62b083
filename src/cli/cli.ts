import { Command, CommanderError } from 'commander';
import { isMesoliteError, messageOf } from '../base/errors.ts';
import { addAgent } from './agent.ts';
import { AnsweredNo, CommandEnded, exitCodeOf, exitCodes, usageText } from './exit-codes.ts';
import { addJoin } from './join.ts';
import { addMaster } from './master.ts';
import type { CliParts } from './roles.ts';
import { processShell, remark, type Shell } from './shell.ts';

/** The command `mesolite`: runs `argv` (without node and script) to its end and gives the exit code; never rejects. */
export async function runCli(argv: readonly string[], parts: CliParts, shell: Shell = processShell()): Promise<number> {
  let program: Command | undefined;
  try {
    program = await makeProgram(argv, parts, shell);
    await program.parseAsync([...argv], { from: 'user' });
    return exitCodes.ok;
  } catch (error) {
    if (shell.signal.aborted) return exitCodes.interrupted;
    report(shell, error);
    return exitCodeOf(error, program?.args[0]);
  }
}

const roles: readonly (string | undefined)[] = ['master', 'agent', 'join'];

async function makeProgram(argv: readonly string[], parts: CliParts, shell: Shell): Promise<Command> {
  const program = new Command('mesolite')
    .description('a fleet manager and service mesh for small boards')
    .version(parts.version, '--version', 'print the version of this program')
    .option('--context <name>', 'the master to talk to: a name from `mesolite context list`')
    .exitOverride()
    .configureOutput({
      writeOut: text => shell.stdout.write(text),
      writeErr: text => shell.stderr.write(text),
      // `report` prints all errors alike
      outputError: () => {},
    })
    .showSuggestionAfterError();
  addMaster(program, shell, parts.startMaster);
  addAgent(program, shell, parts.startAgent);
  addJoin(program, shell, parts.joinFleet);
  if (!roles.includes(argv[0])) {
    const { addClientCommands } = await import('./client-commands.ts');
    addClientCommands(program, shell, parts);
  }
  return program;
}

/** One sentence a line; only a defect of ours shows where it happened. */
function report(shell: Shell, error: unknown): void {
  if (error instanceof AnsweredNo || error instanceof CommandEnded) return;
  if (error instanceof CommanderError) {
    // help has been printed already
    if (error.code.startsWith('commander.help') || error.code === 'commander.version') return;
    remark(shell, `mesolite: ${usageText(error.message)}`);
    return;
  }
  const text = isMesoliteError(error) || !(error instanceof Error) ? messageOf(error) : (error.stack ?? error.message);
  for (const line of text.split('\n')) remark(shell, line.startsWith(' ') ? line : `mesolite: ${line}`);
}
