import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../../quickstart/programs.ts';
import { type Ended, runProgram, watchProgram } from '../debian/program.ts';
import { consoleName, type Guest, patienceMs } from './guest.ts';

/** Programs that this file calls, and Debian's packages with them. */
export const nspawnPrograms = { 'systemd-nspawn': 'systemd-container', nsenter: 'util-linux', ip: 'iproute2' };

interface Parts {
  /** A Debian, which stays as it is. */
  readonly tree: string;
  /** A folder of packages. */
  readonly packages: string;
}

/** This machine's end of the container's cable, as systemd-nspawn names it. */
const cable = 've-board';

/**
 * A container whose first process is systemd, on this machine's kernel: nothing is computed, and where the kernel has its controllers in
 * cgroup v1 it has none. This process must be in network and mount namespaces of its own.
 */
export class Container implements Guest {
  readonly isMachine = false;
  readonly #root: string;
  readonly #folder: string;
  readonly #packages: string;
  #nspawn: ChildProcess | undefined;
  #isLinked = true;

  private constructor(packages: string, folder: string) {
    this.#packages = packages;
    this.#folder = folder;
    this.#root = join(folder, 'root');
  }

  static async make({ tree, packages }: Parts, folder: string): Promise<Container> {
    const container = new Container(packages, folder);
    const [upper, work] = [join(folder, 'upper'), join(folder, 'work')];
    await runProgram('ip', ['link', 'set', 'lo', 'up']);
    for (const each of [container.#root, upper, work]) mkdirSync(each);
    const layers = `lowerdir=${tree},upperdir=${upper},workdir=${work}`;
    await runProgram('mount', ['-t', 'overlay', 'overlay', '-o', layers, container.#root]);
    mkdirSync('/run/systemd/nspawn', { recursive: true });
    await runProgram('mount', ['-t', 'tmpfs', 'tmpfs', '/run/systemd/nspawn']);
    container.#start();
    return container;
  }

  #start(): void {
    const log = openSync(join(this.#folder, consoleName), 'a');
    const options = [
      '--register=no',
      '--keep-unit',
      '--machine=board',
      '--console=pipe',
      '--resolv-conf=off',
      '--network-veth',
    ];
    this.#nspawn = spawn('systemd-nspawn', ['--quiet', '--boot', ...options, `--directory=${this.#root}`], {
      env: { ...process.env, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '1' },
      stdio: ['ignore', log, log],
    });
  }

  async booted(): Promise<void> {
    const ended = once(this.#nspawn ?? this.#failed(), 'exit').then(() => this.#failed());
    const isUp = async () =>
      (await this.run('systemctl is-active --quiet multi-user.target', 30_000)).code === 0 ? true : undefined;
    const plugIn = async () =>
      (await watchProgram('ip', ['address', 'replace', '10.0.2.2/24', 'dev', cable])).code === 0 ? true : undefined;
    await Promise.race([ended, eventually('the container has a cable', patienceMs, plugIn)]);
    await this.link(this.#isLinked);
    await Promise.race([ended, eventually('the container has booted', patienceMs, isUp)]);
    ended.catch(() => {});
  }

  #failed(): never {
    throw new Error('systemd-nspawn has ended');
  }

  /** The container's first process, as this machine sees it. */
  get #leader(): string | undefined {
    const pid = this.#nspawn?.pid;
    return pid === undefined ? undefined : /^\d+/.exec(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'))?.[0];
  }

  async bring(): Promise<void> {
    cpSync(this.#packages, join(this.#root, 'root/packages'), { recursive: true });
  }

  async run(command: string, withinMs = patienceMs): Promise<Ended> {
    const leader = this.#leader;
    if (leader === undefined) return { code: null, output: 'the container has no process yet' };
    const into = ['--target', leader, '--mount', '--net', '--pid', '--ipc', '--uts', '--root'];
    const { code, output } = await watchProgram('nsenter', [...into, 'env', '-C', '/', 'sh', '-c', command], {
      timeoutMs: withinMs,
    });
    return { code, output: output.trim() };
  }

  async link(isIn: boolean): Promise<void> {
    this.#isLinked = isIn;
    await runProgram('ip', ['link', 'set', cable, isIn ? 'up' : 'down']);
  }

  /** What it has written stays, though: that is in the memory of this machine. */
  async cutPower(): Promise<void> {
    await this.#kill();
    this.#start();
  }

  async stop(): Promise<void> {
    await this.#kill();
    await runProgram('umount', [this.#root]);
  }

  async #kill(): Promise<void> {
    const [nspawn, leader] = [this.#nspawn, this.#leader];
    if (nspawn === undefined || nspawn.exitCode !== null || leader === undefined) return;
    const ended = once(nspawn, 'exit');
    // the kernel ends all that it has started
    process.kill(Number(leader), 'SIGKILL');
    await ended;
  }
}
