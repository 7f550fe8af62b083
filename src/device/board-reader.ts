// A program of its own, started for a moment by inventory.ts: `systeminformation` costs 9 MB of memory that the agent would
// keep for good. Prints one line of JSON: what it says of this board, null where it does not answer.
import { release } from 'node:os';
import si from 'systeminformation';
import { textOf } from './kernel-files.ts';

const orNull = <T>(answer: Promise<T>): Promise<T | null> => answer.catch(() => null);
const [cpu, memory, system, os] = await Promise.all([
  orNull(si.cpu()),
  orNull(si.mem()),
  orNull(si.system()),
  osRelease() ?? orNull(si.osInfo()),
]);

/** os-release(5). `osInfo` starts a dozen programs more, the slowest part of it all, and one asks DNS who this machine is: without a network that takes long. */
function osRelease() {
  const text = textOf('/etc/os-release') || textOf('/usr/lib/os-release');
  const value = (name: string) => new RegExp(`^${name}="?([^"\n]*)`, 'm').exec(text)?.[1] ?? '';
  const distro = value('NAME');
  const version = value('VERSION').replace(/\s*\(.*/, '') || value('VERSION_ID');
  return distro === '' ? undefined : { distro, release: version, kernel: release() };
}

process.stdout.write(
  JSON.stringify({
    cpu: cpu && { manufacturer: cpu.manufacturer, brand: cpu.brand, cores: cpu.cores },
    memory: memory && { total: memory.total },
    system: system && { manufacturer: system.manufacturer, model: system.model, virtual: system.virtual },
    os: os && { distro: os.distro, release: os.release, kernel: os.kernel },
  }),
);
