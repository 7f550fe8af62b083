import type { InferOutput } from 'valibot';
import type { upSchemas } from '../../../src/model/message.ts';
import { noResources } from '../../../src/model/resources.ts';
import type { TaskStatus } from '../../../src/model/task.ts';

type Samples = { readonly [K in keyof typeof upSchemas]: InferOutput<(typeof upSchemas)[K]> };

const head = { v: 1, boot: 3, seq: 7, ts: 1_700_000_000_000 } as const;
const hash = 'a'.repeat(64);
const usage = { cpu: 0.5, memUsedMb: 300, diskUsedMb: 900, agentRssMb: 50, load1: 0.2 };
const status: TaskStatus = { uuid: 'u', task: 'hello.default.a1', state: 'TASK_RUNNING', ready: true, at: 1 };

/** One whole message of each kind that a node sends. */
export const upSamples: Samples = {
  birth: {
    ...head,
    clock: { offsetMs: 0, known: true },
    version: '1',
    profile: 'p',
    inventory: {
      arch: 'x64',
      cpuModel: 'c',
      cpuCount: 2,
      memoryMb: 512,
      deviceTreeModel: '',
      dmiProduct: '',
      virtual: true,
      os: 'o',
      kernel: 'k',
    },
    total: noResources,
    attributes: { a: 'b' },
    address: 'h',
    meshPort: 15_008,
    heartbeatMs: 1_000,
    usage,
    held: hash,
    epoch: 1,
    generation: 1,
    tasks: [status],
  },
  hb: { ...head, full: true, usage, held: hash, nonce: 'n' },
  task: { ...head, statuses: [status] },
  ack: { ...head, kind: 'policy', subject: 'all', revision: 4, reason: 'older' },
  audit: { ...head, batch: { first: 1, previous: hash, head: hash, lines: ['{"at":1}'] } },
  csr: { ...head, id: 'r', spiffeId: 'spiffe://x/ns/default/sa/a', csr: 'AAAA' },
  log: { ...head, id: 'l', task: 'hello.default.a1', stream: 'stdout', data: 'x', end: false },
  shadow: {
    ...head,
    revision: 4,
    counts: [{ kind: 'AuthorizationPolicy', policy: 'default/dry', calls: 9, allowed: 0, denied: 3, audited: 0 }],
  },
  death: { v: 1, boot: 3 },
};
