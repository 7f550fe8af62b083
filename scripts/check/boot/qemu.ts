import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { eventually } from '../../quickstart/programs.ts';
import type { Ended } from '../debian/program.ts';
import { consoleName, type Guest, patienceMs, textOf } from './guest.ts';
import type { Image } from './image.ts';

/** Programs that this file calls, and Debian's packages with them. */
export const qemuPrograms = { 'qemu-system-x86_64': 'qemu-system-x86' };

/** A computed processor that has to wait for others may be late for what a kernel and systemd expect of one. */
const slow =
  'mitigations=off no_timer_check systemd.show_status=no systemd.default_timeout_start_sec=900 systemd.default_device_timeout_sec=900';

/** A machine with a kernel, systemd and a disk of its own; this one's loopback is its 10.0.2.2. */
export class Machine implements Guest {
  readonly isMachine = true;
  readonly #qemu: ChildProcess;
  readonly #folder: string;
  readonly #console: string;
  #monitor: Socket | undefined;
  #shell: Socket | undefined;
  #heard = '';
  #asked = 0;

  /** `folder` is for its sockets and what it says on its console. */
  constructor({ kernel, initrd, disk, packages }: Image, folder: string) {
    this.#folder = folder;
    this.#console = join(folder, consoleName);
    writeFileSync(this.#console, '');
    const channel = (name: string) => `socket,id=${name},path=${join(folder, name)},server=on,wait=off`;
    this.#qemu = spawn(
      'qemu-system-x86_64',
      [
        ...['-nodefaults', '-display', 'none', '-m', '768', '-smp', '2', '-cpu', 'max,la57=off'],
        // the machine's own processors where it lends them
        ...['-accel', 'kvm', '-accel', 'tcg,thread=multi'],
        ...['-kernel', kernel, '-initrd', initrd],
        ...['-append', `root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 ${slow}`],
        ...['-drive', `file=${disk},format=raw,if=virtio`],
        ...['-drive', `file=${packages},format=raw,if=virtio,readonly=on`],
        ...['-serial', `file:${this.#console}`],
        ...['-netdev', 'user,id=lan', '-device', 'virtio-net-pci,netdev=lan,id=network'],
        ...['-chardev', channel('monitor'), '-mon', 'chardev=monitor'],
        ...['-device', 'virtio-serial', '-chardev', channel('shell')],
        ...['-device', 'virtserialport,chardev=shell,name=shell'],
      ],
      { stdio: ['ignore', 'inherit', 'inherit'] },
    );
  }

  async booted(): Promise<void> {
    const open = async () => {
      this.#monitor ??= await connect(join(this.#folder, 'monitor'));
      this.#shell ??= (await connect(join(this.#folder, 'shell'))).setEncoding('utf8').on('data', text => {
        this.#heard += text;
      });
      return true;
    };
    await eventually('qemu takes commands', patienceMs, () => {
      this.#insistOnLife();
      return open().catch(() => undefined);
    });
    // what is said before a guest listens is lost
    const question = `up-${++this.#asked}`;
    const asks = setInterval(() => this.#shell?.write(`echo ${question}\n`), 2_000);
    try {
      await eventually('the guest has booted', patienceMs, () => {
        this.#insistOnLife();
        return this.#heard.includes(`${question}\n`) ? true : undefined;
      });
    } finally {
      clearInterval(asks);
    }
  }

  #insistOnLife(): void {
    if (this.#hasEnded) throw new Error('qemu has ended');
    const said = readFileSync(this.#console, 'utf8');
    const panic = /Kernel panic.*/.exec(said);
    if (panic !== null) throw new Error(`the guest's kernel has given up: ${panic[0]}`);
  }

  get #hasEnded(): boolean {
    return this.#qemu.exitCode !== null || this.#qemu.signalCode !== null;
  }

  async bring(): Promise<void> {
    await textOf(this, 'mkdir /root/packages; tar -C /root/packages -xf /dev/vdb');
  }

  async run(command: string, withinMs = patienceMs): Promise<Ended> {
    const mark = `end-${++this.#asked}`;
    this.#heard = '';
    this.#shell?.write(`( ${command}\n) </dev/null 2>&1; echo "${mark} $?"\n`);
    const ending = new RegExp(`^${mark} (\\d+)\\r?$`, 'm');
    return eventually(`the guest ends \`${command}\``, withinMs, () => {
      this.#insistOnLife();
      const found = ending.exec(this.#heard);
      return found === null ? undefined : { code: Number(found[1]), output: this.#heard.slice(0, found.index).trim() };
    });
  }

  async link(isIn: boolean): Promise<void> {
    this.#monitor?.write(`set_link network ${isIn ? 'on' : 'off'}\n`);
  }

  /** What it had not written to its disk is lost. */
  async cutPower(): Promise<void> {
    this.#heard = '';
    this.#monitor?.write('system_reset\n');
  }

  async stop(): Promise<void> {
    if (this.#hasEnded) return;
    const ended = once(this.#qemu, 'exit');
    this.#qemu.kill('SIGKILL');
    await ended;
    this.#monitor?.destroy();
    this.#shell?.destroy();
  }
}

async function connect(path: string): Promise<Socket> {
  const socket = createConnection(path);
  await once(socket, 'connect');
  // qemu ends first
  return socket.on('error', () => {}).resume();
}
