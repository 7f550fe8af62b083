/** The part of an agent that keeps tasks, alone: it takes assignments as lines on its input, and says what holds. What it does to its files is written down before. */
import { setMaxListeners } from 'node:events';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { makeSupervisor } from '../../../src/agent/supervisor.ts';
import { openTaskDirectories } from '../../../src/agent/task-directories.ts';
import { makeTaskEndings } from '../../../src/agent/task-endings.ts';
import { Background } from '../../../src/base/background.ts';
import { silentLog as log } from '../../../src/base/log.ts';
import { systemClock as clock } from '../../../src/device/clock.ts';
import { newId, systemRandom } from '../../../src/device/dice.ts';
import { type FileOperations, systemFileOperations } from '../../../src/device/file-operations.ts';
import { openFiles } from '../../../src/device/files.ts';
import { makeProcesses } from '../../../src/device/process.ts';
import { makeLogKeeper } from '../../../src/device/task-log.ts';
import { sha256Hex } from '../../../src/identity/keys.ts';
import { say } from '../rows.ts';
import { type Operation, stateOf } from './disk.ts';

const [home = '', journal = ''] = process.argv.slice(2);
const { signal } = new AbortController();
// each task listens to it
setMaxListeners(0, signal);

function note(operation: Operation): void {
  appendFileSync(journal, `${JSON.stringify(operation)}\n`);
}

let opened = 0;
const operations: FileOperations = {
  ...systemFileOperations,
  async create(path) {
    const file = ++opened;
    note({ do: 'create', path, file });
    const { write, sync, close } = await systemFileOperations.create(path);
    return {
      close,
      async write(bytes) {
        note({ do: 'write', file, base64: Buffer.from(bytes).toString('base64') });
        await write(bytes);
      },
      async sync() {
        await sync();
        note({ do: 'sync', file });
      },
    };
  },
  async rename(from, to) {
    note({ do: 'rename', from, to });
    await systemFileOperations.rename(from, to);
  },
  async remove(path) {
    note({ do: 'remove', path });
    await systemFileOperations.remove(path);
  },
  async syncDirectory(path) {
    await systemFileOperations.syncDirectory(path);
    note({ do: 'syncDirectory', path });
  },
};

const files = await openFiles(stateOf(home), { operations });
const recovered = (await files.read('desired-tasks'))?.recovered === true;
const supervisor = makeSupervisor({
  processes: makeProcesses({ clock }, { pollMs: 50 }),
  lower: async () => ({ prefix: [] }),
  artifacts: { place: async () => {} },
  identities: { ready: async () => {} },
  inBackground: new Background(log).run,
  clock,
  random: systemRandom,
  newId,
  log,
  files,
  directories: await openTaskDirectories(home),
  endings: makeTaskEndings({ files, clock, newId, log }),
  logKeeper: makeLogKeeper({ clock, log }),
  sha256: sha256Hex,
  environmentOf: spec => ({ PATH: '/usr/bin:/bin', HOME: join(home, 'tasks'), TASK: spec.id }),
  onStatus: () => {},
  onChanged: () => {},
});
await supervisor.start(signal);
const tell = () => say(JSON.stringify({ generation: supervisor.held.generation, recovered }));
tell();
for await (const line of createInterface({ input: process.stdin })) {
  await supervisor.assign(JSON.parse(line));
  tell();
}
