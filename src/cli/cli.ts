import { Command, CommanderError } from 'commander';
import { isMesoliteError, messageOf } from '../base/errors.ts';
import { addAgent } from './agent.ts';
import { addApply } from './apply.ts';
import { addAudit } from './audit.ts';
import { addContext } from './context.ts';
import { addDelete } from './delete.ts';
import { exitCodeOf, exitCodes } from './exit-codes.ts';
import { addGet } from './get.ts';
import { addLogs } from './logs.ts';
import { addMaster } from './master.ts';
import type { CliParts } from './roles.ts';
import { processShell, remark, type Shell } from './shell.ts';
import { addToken } from './token.ts';
import { addVersion } from './version.ts';

/** The command `mesolite`: runs `argv` (without node and script) to its end and gives the exit code; never rejects. */
export async function runCli(argv: readonly string[], parts: CliParts, shell: Shell = processShell()): Promise<number> {
  try {
    await makeProgram(parts, shell).parseAsync([...argv], { from: 'user' });
    return exitCodes.ok;
  } catch (error) {
    if (shell.signal.aborted) return exitCodes.interrupted;
    report(shell, error);
    return exitCodeOf(error);
  }
}

function makeProgram(parts: CliParts, shell: Shell): Command {
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
  addToken(program, shell);
  addApply(program, shell);
  addDelete(program, shell);
  addGet(program, shell);
  addLogs(program, shell);
  addAudit(program, shell);
  addContext(program, shell);
  addVersion(program, shell, parts.version);
  return program;
}

/** One sentence a line; only a defect of ours shows where it happened. */
function report(shell: Shell, error: unknown): void {
  if (error instanceof CommanderError) {
    // help has been printed already
    if (error.code.startsWith('commander.help') || error.code === 'commander.version') return;
    remark(shell, `mesolite: ${error.message.replace(/^error: /, '')}`);
    return;
  }
  const text = isMesoliteError(error) || !(error instanceof Error) ? messageOf(error) : (error.stack ?? error.message);
  for (const line of text.split('\n')) remark(shell, line.startsWith(' ') ? line : `mesolite: ${line}`);
}
