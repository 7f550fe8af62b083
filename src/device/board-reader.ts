// A program of its own, started for a moment by inventory.ts: `systeminformation` costs 9 MB of memory that the agent would
// keep for good. Prints one line of JSON: what it says of this board, null where it does not answer.
import si from 'systeminformation';

const orNull = <T>(answer: Promise<T>): Promise<T | null> => answer.catch(() => null);
const [cpu, memory, system, os] = await Promise.all([
  orNull(si.cpu()),
  orNull(si.mem()),
  orNull(si.system()),
  orNull(si.osInfo()),
]);

process.stdout.write(
  JSON.stringify({
    cpu: cpu && { manufacturer: cpu.manufacturer, brand: cpu.brand, cores: cpu.cores },
    memory: memory && { total: memory.total },
    system: system && { manufacturer: system.manufacturer, model: system.model, virtual: system.virtual },
    os: os && { distro: os.distro, release: os.release, kernel: os.kernel },
  }),
);
