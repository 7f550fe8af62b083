import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { textOf } from './kernel-files.ts';

/** What Linux tells of a machine, as it stands there: nothing is checked. */
export interface Board {
  readonly cpuModel: string;
  readonly cpuCount: number;
  readonly memoryBytes: number;
  readonly dmiProduct: string;
  readonly virtual: boolean;
  readonly os: string;
  readonly kernel: string;
}

/**
 * Reads it from /proc, /sys and os-release: a dozen small files, within milliseconds. `root` holds those of another board. Undefined
 * where there is no /proc.
 */
export function readBoard(root = '/'): Board | undefined {
  const at = (path: string) => textOf(join(root, path));
  const cpuinfo = at('proc/cpuinfo');
  if (cpuinfo === '') return undefined;
  const dmi = (name: string) => at(`sys/class/dmi/id/${name}`);
  const dmiProduct = `${dmi('sys_vendor')} ${dmi('product_name')}`;
  const told = existsSync(join(root, 'etc/os-release')) ? 'etc/os-release' : 'usr/lib/os-release';
  return {
    cpuModel: cpuModelOf(cpuinfo, at('proc/device-tree/compatible')),
    cpuCount: [...cpuinfo.matchAll(/^processor\s*:/gm)].length,
    memoryBytes: 1024 * Number(/^MemTotal: +(\d+) kB/m.exec(at('proc/meminfo'))?.[1]),
    dmiProduct,
    virtual: isVirtual(cpuinfo, dmiProduct, path => existsSync(join(root, path))),
    os: osOf(at(told)),
    kernel: release(),
  };
}

/** Parts of ARM Ltd. that edge boards have, by their number in the register MIDR_EL1; with an older core beside it the stronger one counts. */
const armParts: Readonly<Record<string, string>> = {
  '0xc07': 'Cortex-A7',
  '0xc08': 'Cortex-A8',
  '0xc09': 'Cortex-A9',
  '0xc0d': 'Cortex-A17',
  '0xc0f': 'Cortex-A15',
  '0xd03': 'Cortex-A53',
  '0xd04': 'Cortex-A35',
  '0xd05': 'Cortex-A55',
  '0xd07': 'Cortex-A57',
  '0xd08': 'Cortex-A72',
  '0xd09': 'Cortex-A73',
  '0xd0a': 'Cortex-A75',
  '0xd0b': 'Cortex-A76',
  '0xd0c': 'Neoverse-N1',
  '0xd0d': 'Cortex-A77',
  '0xd40': 'Neoverse-V1',
  '0xd41': 'Cortex-A78',
  '0xd42': 'Cortex-A78AE',
  '0xd49': 'Neoverse-N2',
};
const armLtd = /^CPU implementer\s*: 0x41$/m;

/** As makers write it, without their marks and clock; on ARM, which has no name, the chip of a Raspberry Pi or else the core. */
function cpuModelOf(cpuinfo: string, compatible: string): string {
  const field = (name: string) => new RegExp(`^${name}\\s*: (.+)$`, 'm').exec(cpuinfo)?.[1];
  const chip = /\bbrcm,(bcm\d+)/.exec(compatible)?.[1];
  if (chip !== undefined) return `ARM ${chip.toUpperCase()}`;
  const parts = [...cpuinfo.matchAll(/^CPU part\s*: (\S+)$/gm)].map(([, part = '']) => part);
  const core = armLtd.test(cpuinfo) ? armParts[parts.sort().at(-1) ?? ''] : undefined;
  if (core !== undefined) return `ARM ${core}`;
  const name = field('model name') ?? field('uarch') ?? field('cpu model') ?? compatible.split('\0')[0] ?? '';
  return name.replace(/\((R|TM)\)|\b(CPU|Processor|\d+-Core)\b|@.*$/gi, '');
}

/** What is in the words of firmware that no hardware has. */
const hypervisors = /QEMU|KVM|VMware|VirtualBox|Xen|Bochs|Parallels|Amazon EC2|Google Compute Engine|Virtual Machine/i;
const containers = ['.dockerenv', 'run/.containerenv', 'run/systemd/container'];

function isVirtual(cpuinfo: string, dmiProduct: string, exists: (path: string) => boolean): boolean {
  return (
    /^flags\s*:.*\bhypervisor\b/m.test(cpuinfo) ||
    hypervisors.test(dmiProduct) ||
    exists('proc/device-tree/hypervisor') ||
    containers.some(exists)
  );
}

/** os-release(5): `Debian GNU/Linux 13`, `Ubuntu 24.04.1 LTS`. */
function osOf(text: string): string {
  const value = (name: string) => new RegExp(`^${name}="?([^"\\n]*)`, 'm').exec(text)?.[1] ?? '';
  return `${value('NAME')} ${value('VERSION').replace(/\s*\(.*/, '') || value('VERSION_ID')}`.trim() || 'Linux';
}
