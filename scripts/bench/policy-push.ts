/**
 * How long a policy takes from `apply` until a node's proxy would decide by it. Real are the master with its HTTPS API, store and broker, mutual TLS,
 * MQTT, the signed document, and of each agent its link and its inbox, which verifies, compiles, swaps and acknowledges. Not real: agents have no
 * disk, no proxy that listens and no tasks, and many of them share a process (`policy-agents.ts`), whose turns they wait for.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { silentLog } from '../../src/base/log.ts';
import { systemClock } from '../../src/device/clock.ts';
import { checkMasterConfig, defaultMasterConfig } from '../../src/master/config.ts';
import { startMaster } from '../../src/master/master.ts';
import { openFleetApi } from '../../test/fixtures/fleet-api.ts';

export interface Push {
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** How late a timer of the master was, at worst but for one in a hundred: the machine's own share. */
  readonly latenessMs: number;
}

const agentsInProcess = 250;
const agentsProgram = fileURLToPath(new URL('policy-agents.js', import.meta.url));

/** What `policy-agents.ts` says: all of its agents are connected, or one has put the policy `mark` in force. */
export type Said = { readonly ready: true } | { readonly mark: number; readonly at: number };

/** The same for all processes of a machine. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export async function measurePush(agents: number, pushes: number): Promise<Push> {
  const dataDir = mkdtempSync(join(tmpdir(), 'mesolite-push-'));
  const controller = new AbortController();
  const settings = {
    dataDir,
    host: '127.0.0.1',
    advertise: ['127.0.0.1'],
    trustDomain: 'bench.mesh',
    apiPort: 0,
    mqttPort: 0,
  };
  const config = checkMasterConfig({ ...defaultMasterConfig, ...settings });
  const master = await startMaster({ clock: systemClock, log: silentLog, version: 'bench' }, config, controller.signal);
  const children: ChildProcess[] = [];
  try {
    const seen = new Map<number, number[]>();
    let wake = () => {};
    const hear = (said: Said) => {
      if ('mark' in said) seen.set(said.mark, [...(seen.get(said.mark) ?? []), said.at]);
      wake();
    };
    for (let from = 0; from < agents; from += agentsInProcess) {
      children.push(
        await startAgents(config.dataDir, master.mqttPort, from, Math.min(agentsInProcess, agents - from), hear),
      );
    }
    const api = openFleetApi({ dataDir, apiPort: master.apiPort });
    const lateness = monitorEventLoopDelay({ resolution: 5 });
    lateness.enable();
    const delays: number[] = [];
    for (let mark = 0; mark <= pushes; mark++) {
      const all = new Promise<void>(resolve => {
        wake = () => {
          if (seen.get(mark)?.length === agents) resolve();
        };
      });
      const start = monotonicMs();
      await api.apply(policyOf(mark));
      await all;
      // the first one warms up
      if (mark > 0) delays.push(...(seen.get(mark) ?? []).map(at => at - start));
    }
    lateness.disable();
    delays.sort((a, b) => a - b);
    const at = (share: number) => delays[Math.floor(delays.length * share)] ?? Number.NaN;
    return { p50Ms: at(0.5), p99Ms: at(0.99), latenessMs: lateness.percentile(99) / 1e6 };
  } finally {
    for (const child of children) child.disconnect();
    controller.abort();
    await master.ended;
    rmSync(dataDir, { recursive: true });
  }
}

function policyOf(mark: number): object {
  const rules = [{ to: [{ operation: { paths: [`/mark/${mark}`] } }] }];
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: 'pushed' },
    spec: { action: 'DENY', rules },
  };
}

async function startAgents(
  dataDir: string,
  port: number,
  from: number,
  count: number,
  hear: (said: Said) => void,
): Promise<ChildProcess> {
  const child = fork(agentsProgram, [dataDir, `${port}`, `${from}`, `${count}`]);
  await new Promise<void>((resolve, reject) => {
    child.once('exit', code => reject(new Error(`the agents ended with ${code}`)));
    child.on('message', (said: Said) => {
      if ('ready' in said) resolve();
      hear(said);
    });
  });
  return child;
}
