import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { NodeView, TaskView } from '../../../src/model/api.ts';
import { eventually, lastWords, type Mesolite, makeMesolite, type Role, startRole } from '../../quickstart/programs.ts';
import { type Guest, patienceMs, patiently, textOf } from './guest.ts';

/** What a guest sees of this machine. */
const hostAddress = '10.0.2.2';
export const unit = 'mesolite-agent';
export const dataDir = '/var/lib/mesolite-agent';

export const isRunning = ({ state }: TaskView) => state === 'TASK_RUNNING';
export const hasFailed = ({ state }: TaskView) => state === 'TASK_FAILED';

export interface MasterHere {
  readonly mesolite: Mesolite;
  stop(): Promise<void>;
}

/** A master on this machine that listens on `host`, on ports that are free, for a guest to join. */
export async function startMaster(host: string, folder: string): Promise<MasterHere> {
  const [api, mqtt] = [await freePort(), await freePort()];
  const directory = join(folder, 'master');
  const names = ['--host', host, '--advertise', hostAddress, '--advertise', '127.0.0.1'];
  const ports = ['--api-port', `${api}`, '--mqtt-port', `${mqtt}`];
  const role: Role = startRole('master', ['master', '--data', directory, ...names, ...ports], `${directory}.log`);
  const mesolite = makeMesolite(join(folder, 'config.yaml'));
  const answers = eventually('the master answers', patienceMs, async () => {
    const to = ['--server', `https://127.0.0.1:${api}`, '--ca', join(directory, 'ca.pem')];
    await mesolite.run('context', 'set', 'here', ...to, '--token-file', join(directory, 'operator.token'));
    return (await mesolite.run('get', 'nodes')).code === 0 ? true : undefined;
  });
  const died = role.ended.then(() => {
    throw new Error(`the master has ended: ${lastWords(role)}`);
  });
  await Promise.race([answers, died]);
  died.catch(() => {});
  return { mesolite, stop: role.stop };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen({ port: 0, host: '127.0.0.1' }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

/** A guest as a node of that master, by what an operator sees and what systemd and the kernel say of it. */
export class Board {
  readonly guest: Guest;
  readonly mesolite: Mesolite;
  readonly #folder: string;

  constructor(guest: Guest, mesolite: Mesolite, folder: string) {
    this.guest = guest;
    this.mesolite = mesolite;
    this.#folder = folder;
  }

  text(command: string): Promise<string> {
    return textOf(this.guest, command);
  }

  async node(): Promise<NodeView | undefined> {
    return (await this.mesolite.list<NodeView>('nodes', 'get', 'nodes'))[0];
  }

  /** Waits until the master has heard of it after `since`, milliseconds since 1970. */
  ready(since = 0): Promise<NodeView> {
    return patiently('the node is ready', async () => {
      const node = await this.node();
      return node?.state === 'ready' && node.lastSeen > since ? node : undefined;
    });
  }

  /** Applies a job of one task with `spec`, and waits for what `isDone` wants of it. */
  async task(name: string, spec: object, isDone: (task: TaskView) => boolean): Promise<TaskView> {
    const file = join(this.#folder, `${name}.json`);
    const job = { apiVersion: 'mesolite/v1', kind: 'Job', metadata: { name }, spec };
    writeFileSync(file, JSON.stringify(job));
    await this.mesolite.text('apply', '-f', file);
    return patiently(`task ${name}`, async () => (await this.tasks(name)).find(isDone));
  }

  async tasks(job: string): Promise<TaskView[]> {
    return (await this.mesolite.list<TaskView>('tasks', 'get', 'tasks')).filter(task => task.job === job);
  }

  async end(job: string): Promise<void> {
    await this.mesolite.text('delete', 'Job', job);
  }

  /** A property of the agent's unit, as systemd shows it: asked again where it has no time to answer. */
  property(name: string): Promise<string> {
    return patiently(`systemd shows ${name}`, async () => {
      const { code, output } = await this.guest.run(`systemctl show --property=${name} --value ${unit}`);
      return code === 0 ? output.trim() : undefined;
    });
  }

  /** Waits until the unit is up with another main process than `before`. */
  another(before: string): Promise<string> {
    return patiently('another process is the agent', async () => {
      const [pid, state] = [await this.property('MainPID'), await this.property('ActiveState')];
      return pid !== '0' && pid !== before && state === 'active' ? pid : undefined;
    });
  }

  /** What a task writes, as a file of the guest. */
  logOf({ id }: Pick<TaskView, 'id'>): string {
    return `${dataDir}/tasks/${id}/stdout.log`;
  }

  /** Waits until what a task has written matches `pattern`. */
  said(task: Pick<TaskView, 'id'>, pattern: RegExp): Promise<string> {
    return patiently(`${task.id} says ${pattern.source}`, async () => {
      const { output } = await this.guest.run(`cat ${this.logOf(task)}`);
      return pattern.test(output) ? output : undefined;
    });
  }

  /** The first process of a task's newest run. */
  async shimPid({ id }: Pick<TaskView, 'id'>): Promise<string> {
    return this.text(`head -n 1 "$(ls -td ${dataDir}/tasks/${id}/run.*/pid | head -n 1)"`);
  }

  /** The group that a process is in. */
  group(pid: string): Promise<string> {
    return this.text(`sed -n 's/^0:://p' /proc/${pid}/cgroup`);
  }

  /** A file of it. */
  async cgroup(pid: string, file: string): Promise<string> {
    return this.text(`cat "/sys/fs/cgroup${await this.group(pid)}/${file}"`);
  }

  /** Runs the agent's unit anew, with `settings` in a drop-in or without any, until the master hears of it again. */
  async restart(settings = ''): Promise<void> {
    const [before, since] = [await this.property('MainPID'), (await this.node())?.lastSeen];
    const folder = `/run/systemd/system/${unit}.service.d`;
    const change =
      settings === '' ? `rm -rf ${folder}` : `mkdir -p ${folder}; cat > ${folder}/check.conf <<'END'\n${settings}\nEND`;
    await this.text(`${change}\nsystemctl daemon-reload; systemctl restart ${unit}`);
    await this.another(before);
    await this.ready(since);
  }
  /** Resident memory of a process, in MB. */
  async residentMb(pid: string): Promise<number> {
    return Number(await this.text(`sed -n 's/^VmRSS: *\\([0-9]*\\).*/\\1/p' /proc/${pid}/status`)) / 1024;
  }
}
