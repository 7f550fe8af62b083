import type { Command } from 'commander';
import { addAnalyze } from './analyze.ts';
import { addApply } from './apply.ts';
import { addApprove } from './approve.ts';
import { addAudit } from './audit.ts';
import { addAuthority } from './authority.ts';
import { addBroker } from './broker.ts';
import { addContext } from './context.ts';
import { addCredential } from './credential.ts';
import { addDelete } from './delete.ts';
import { addDiff } from './diff.ts';
import { addDoctor } from './doctor.ts';
import { addDrain } from './drain.ts';
import { addExec } from './exec.ts';
import { addExplain } from './explain.ts';
import { addGet } from './get.ts';
import { addJob } from './job.ts';
import { addLogs } from './logs.ts';
import { addPlan } from './plan.ts';
import { addPolicy } from './policy.ts';
import { addProfiles } from './profiles.ts';
import { addPush } from './push.ts';
import { addRevoke } from './revoke.ts';
import type { CliParts } from './roles.ts';
import { addRollout } from './rollout.ts';
import { addSecret } from './secret.ts';
import type { Shell } from './shell.ts';
import { addTakeOver } from './takeover.ts';
import { addToken } from './token.ts';
import { addVersion } from './version.ts';

/** The commands that talk to a master: in a file of their own, so that a role does not load them. */
export function addClientCommands(
  program: Command,
  shell: Shell,
  { version, profilesDir, examineNode }: CliParts,
): void {
  addToken(program, shell);
  addCredential(program, shell);
  addApprove(program, shell);
  addApply(program, shell);
  addPush(program, shell);
  addPlan(program, shell);
  addDelete(program, shell);
  addGet(program, shell);
  addLogs(program, shell);
  addExec(program, shell);
  addSecret(program, shell);
  addAudit(program, shell);
  addRevoke(program, shell);
  addAuthority(program, shell);
  addBroker(program, shell);
  addPolicy(program, shell);
  addExplain(program, shell);
  addAnalyze(program, shell);
  addDiff(program, shell);
  addRollout(program, shell);
  addJob(program, shell);
  addDrain(program, shell);
  addDoctor(program, shell, examineNode);
  addProfiles(program, shell, profilesDir);
  addTakeOver(program, shell);
  addContext(program, shell);
  addVersion(program, shell, version);
}
