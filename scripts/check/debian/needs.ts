import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

/** Ends this process with a plain sentence unless it is root on Linux and has `programs`: each with the package of Debian that it is in. */
export function insistOn(programs: Readonly<Record<string, string>>): void {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) {
    refuse('it mounts file systems and gives processes namespaces of their own: run it as root, on Linux');
  }
  const missing = Object.keys(programs).filter(name => !isThere(name));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map(name => programs[name]))];
  refuse(`${missing.join(', ')} missing: apt-get install ${packages.join(' ')}`);
}

function refuse(why: string): never {
  process.stderr.write(`${why}\n`);
  process.exit(2);
}

function isThere(program: string): boolean {
  const folders = (process.env.PATH ?? '').split(':');
  return folders.some(folder => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
