import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The tree of cgroup v2 as far as it is needed; paths begin with `/`, the top of what this process sees. Everything throws what the kernel says. */
export interface CgroupTree {
  /** Where the tree is in the file system. */
  readonly mount: string;
  /** The group that the process is in. */
  readonly own: string;
  /** Processes and threads that the kernel has room for in all. */
  readonly maxProcesses: number;
  /** Cgroup v1 has this controller, so the tree cannot. */
  isTaken(controller: string): boolean;
  make(path: string): void;
  /** Throws EBUSY while a process is in it. */
  remove(path: string): void;
  read(path: string): string;
  write(path: string, text: string): void;
  /** The groups below one. */
  list(path: string): string[];
}

/** The bound on 32 bits, where the kernel does not tell (proc_sys_kernel(5)). */
const fewProcesses = 32_768;

/** Finds the tree of this system, as `process` is in it; undefined where there is none. */
export function findCgroupTree(root = '/', process: number | 'self' = 'self'): CgroupTree | undefined {
  // proc_pid_mountinfo(5): the mount point is the fifth field, the type stands behind the hyphen
  const mounts = readText(join(root, 'proc/self/mountinfo')).split('\n');
  const mount = mounts.find(line => line.includes(' - cgroup2 '))?.split(' ')[4];
  const own = /^0::(\/.*)$/m.exec(readText(join(root, 'proc', `${process}`, 'cgroup')))?.[1];
  if (mount === undefined || own === undefined) return undefined;
  const controllers = readText(join(root, 'proc/cgroups'));
  const bounds = ['threads-max', 'pid_max'].map(
    name => Number(readText(join(root, 'proc/sys/kernel', name))) || fewProcesses,
  );
  const at = (path: string) => mount + path;
  // synchronous: the kernel answers from memory
  return {
    mount,
    own,
    maxProcesses: Math.min(...bounds),
    isTaken: name => /^[1-9]/.test(new RegExp(`^${name}\\s+(\\d+)`, 'm').exec(controllers)?.[1] ?? ''),
    make: path => mkdirSync(at(path)),
    remove: path => rmdirSync(at(path)),
    read: path => readFileSync(at(path), 'utf8'),
    write: (path, text) => writeFileSync(at(path), text),
    list: path =>
      readdirSync(at(path), { withFileTypes: true }).flatMap(entry => (entry.isDirectory() ? entry.name : [])),
  };
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
