import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { arch, availableParallelism, cpus, release, totalmem, type } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import * as v from 'valibot';
import type { Clock } from '../base/clock.ts';
import { decodeJson } from '../base/shape.ts';
import type { Inventory } from '../model/profile.ts';
import { systemClock } from './clock.ts';
import { readNetwork } from './network.ts';

/** What a board says of itself, unchecked: a CPU of 0 cores and a memory of 0 bytes are known lies of real boards. */
export interface RawInventory {
  readonly arch: string;
  readonly cpuModel: string;
  readonly cpuCount: number;
  readonly memoryBytes: number;
  readonly deviceTreeModel: string;
  readonly dmiProduct: string;
  readonly virtual: boolean;
  readonly os: string;
  readonly kernel: string;
  readonly network?: Inventory['network'];
}

export interface CheckedInventory {
  readonly inventory: Inventory;
  /** A sentence for each value that could not be believed, with what is used instead. */
  readonly warnings: readonly string[];
  /** Some of it was not told in time, and is what Node sees; another reading may tell more. */
  readonly isPartial?: true;
}

export interface InventorySettings {
  /** Where the system's files are; another one than `/` shows the files of another board. */
  readonly root?: string;
  readonly clock?: Clock;
  /** How long `systeminformation` has for each of its answers; what does not come is read from Node. */
  readonly timeoutMs?: number;
}

/** The least and the most that is believed, and what is assumed of a board that says neither. */
const coreBounds = [1, 4096, 1] as const;
const memoryBounds = [16, 64 * 1024 * 1024, 128] as const;
const maxText = 200;
const bytesPerMb = 1024 * 1024;

/** The facts of this board, read once: `systeminformation` (it starts some programs) beside the device tree and DMI. */
export async function readInventory(settings: InventorySettings = {}): Promise<CheckedInventory> {
  const { root = '/', clock = systemClock, timeoutMs = 10_000 } = settings;
  const board = await askBoard(clock, timeoutMs);
  const { cpu, memory, system, os } = board;
  const [deviceTreeModel, processors, product, vendor] = await Promise.all([
    readText(join(root, 'proc/device-tree/model')),
    readText(join(root, 'proc/cpuinfo')),
    readText(join(root, 'sys/class/dmi/id/product_name')),
    readText(join(root, 'sys/class/dmi/id/sys_vendor')),
  ]);
  const checked = checkInventory(
    {
      arch: arch(),
      cpuModel: words(cpu?.manufacturer, cpu?.brand) || (cpus()[0]?.model ?? ''),
      cpuCount: cpu?.cores ?? availableParallelism(),
      memoryBytes: memory?.total ?? totalmem(),
      // a container has no device tree, and the kernel of a Raspberry Pi says it twice
      deviceTreeModel: deviceTreeModel || (/^Model\s*:(.*)$/m.exec(processors)?.[1] ?? ''),
      dmiProduct: words(vendor, product) || words(system?.manufacturer, system?.model),
      virtual: system?.virtual === true || isVirtual(processors, clean(words(vendor, product, deviceTreeModel))),
      os: words(os?.distro, os?.release) || type(),
      kernel: os?.kernel || release(),
      network: readNetwork(root),
    },
    { cores: availableParallelism(), memoryBytes: totalmem() },
  );
  if (Object.values(board).every(part => part !== null)) return checked;
  return { ...checked, warnings: [...checked.warnings, unansweredWarning], isPartial: true };
}

/**
 * Is it a virtual machine, by /proc/cpuinfo and what its firmware calls it? A processor of x86 says so itself (CPUID), elsewhere the firmware of the machine does. What others go by, as dmesg, an agent that is not root
 * does not see.
 */
export function isVirtual(processors: string, machine: string): boolean {
  if (/^flags\s*:.* hypervisor\b/m.test(processors)) return true;
  return /QEMU|VMware|Parallels|virtual|vServer|Compute Engine|Amazon EC2(?!.*metal)|^linux,dummy-virt/i.test(machine);
}

const unansweredWarning = 'what the board is was not told in time or in full: what Node sees of it is used';

const text = v.fallback(v.string(), '');
const number = v.fallback(v.number(), Number.NaN);
/** What board-reader.ts prints. */
const boardSchema = v.object({
  cpu: v.nullable(v.object({ manufacturer: text, brand: text, cores: number })),
  memory: v.nullable(v.object({ total: number })),
  system: v.nullable(v.object({ manufacturer: text, model: text, virtual: v.fallback(v.boolean(), false) })),
  os: v.nullable(v.object({ distro: text, release: text, kernel: text })),
});
type Board = v.InferOutput<typeof boardSchema>;

const noAnswer: Board = { cpu: null, memory: null, system: null, os: null };
const reader = fileURLToPath(new URL('./board-reader.js', import.meta.url));
const answerBounds = { maxBytes: 16_384, maxDepth: 4 };

/** What `systeminformation` says, in a process that is gone again after; nothing when it fails or is late. */
async function askBoard(clock: Clock, timeoutMs: number): Promise<Board> {
  const late = new AbortController();
  const cancel = clock.after(timeoutMs, () => late.abort());
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [reader], { signal: late.signal });
    return decodeJson(boardSchema, stdout, 'board reader', answerBounds);
  } catch {
    return noAnswer;
  } finally {
    cancel();
  }
}

function words(...parts: readonly (string | undefined)[]): string {
  return parts.filter(Boolean).join(' ');
}

/** Puts what can be believed in place of what cannot; `here` is what Node sees of the same machine. */
export function checkInventory(
  raw: RawInventory,
  here: { readonly cores: number; readonly memoryBytes: number },
): CheckedInventory {
  const warnings: string[] = [];
  const believe = (what: string, said: number, seen: number, bounds: readonly [number, number, number]): number => {
    const [min, max, assumed] = bounds;
    const isSane = (value: number) => Number.isFinite(value) && value >= min && value <= max;
    if (isSane(said)) return said;
    const used = isSane(seen) ? seen : assumed;
    warnings.push(`the system says ${said} ${what}, which cannot be: ${used} is used`);
    return used;
  };
  const [saidMb, seenMb] = [raw.memoryBytes, here.memoryBytes].map(bytes => Math.floor(bytes / bytesPerMb));
  const cores = believe('cores', raw.cpuCount, here.cores, coreBounds);
  return {
    inventory: {
      arch: raw.arch,
      cpuModel: clean(raw.cpuModel),
      // a container or a pinned service may be given fewer cores than the board has
      cpuCount: here.cores >= 1 ? Math.min(cores, here.cores) : cores,
      memoryMb: believe('MB of memory', saidMb ?? 0, seenMb ?? 0, memoryBounds),
      deviceTreeModel: clean(raw.deviceTreeModel),
      dmiProduct: clean(raw.dmiProduct),
      virtual: raw.virtual,
      os: clean(raw.os),
      kernel: clean(raw.kernel),
      ...(raw.network && { network: raw.network.map(link => ({ ...link, name: clean(link.name) })) }),
    },
    warnings,
  };
}

/** Firmware pads its strings with zeros and spaces. */
function clean(text: string): string {
  return text
    .replace(/[^\x20-\x7e]+/g, '')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, maxText);
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return '';
  }
}
