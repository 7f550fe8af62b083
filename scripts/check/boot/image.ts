import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { runProgram } from '../debian/program.ts';
import { makeTree, treePrograms } from '../debian/tree.ts';

/** What a guest starts from. */
export interface Image {
  readonly kernel: string;
  readonly initrd: string;
  readonly disk: string;
  /** A disk with nothing but a tar of the Debian packages of this checkout. */
  readonly packages: string;
}

/** Programs that this file calls, and Debian's packages with them. */
export const imagePrograms = { ...treePrograms, mke2fs: 'e2fsprogs', systemctl: 'systemd', 'dpkg-deb': 'dpkg' };

const installed = [
  'nodejs',
  'adduser',
  'systemd-sysv',
  'udev',
  'dbus',
  'procps',
  'initramfs-tools',
  'linux-image-cloud-amd64',
];
const diskSize = '2G';

/** What a Debian from an installer would have, and a shell on a line of its own for whoever holds this machine. */
const files = {
  'etc/fstab': '/dev/vda / ext4 defaults 0 1\n',
  'etc/hostname': 'board\n',
  'etc/systemd/network/10-lan.network':
    '[Match]\nName=eth0 host0\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nIPv6AcceptRA=no\n',
  // on a processor that is computed, and waits for others
  'etc/systemd/system/mesolite-agent.service.d/slow.conf': '[Service]\nTimeoutStartSec=900\n',
  'etc/systemd/system/shell.service': `[Unit]
BindsTo=dev-virtio\\x2dports-shell.device
After=dev-virtio\\x2dports-shell.device
[Service]
ExecStart=/bin/sh
StandardInput=file:/dev/virtio-ports/shell
StandardOutput=file:/dev/virtio-ports/shell
Restart=always
[Install]
WantedBy=multi-user.target
`,
};

/** A Debian to boot, of those that `cache` keeps. */
export async function makeBootable(cache: string): Promise<string> {
  const tree = await makeTree({ architecture: 'amd64', packages: installed, cache, isConfigured: true });
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), text);
  }
  await runProgram('systemctl', ['--root', tree, 'enable', 'shell.service', 'systemd-networkd.service']);
  return tree;
}

/** Those of this checkout, in a folder. */
export async function makePackages(folder: string): Promise<string> {
  const packages = join(folder, 'packages');
  await runProgram(process.execPath, ['build/scripts/package/package.js', '--out', packages]);
  return packages;
}

/** Makes it in `folder`. */
export async function makeImage(tree: string, packages: string, folder: string): Promise<Image> {
  const [disk, archive] = [join(folder, 'disk'), join(folder, 'packages.tar')];
  await runProgram('mke2fs', ['-q', '-t', 'ext4', '-d', tree, disk, diskSize]);
  // a disk is a whole number of sectors
  await runProgram('tar', ['-C', packages, '--blocking-factor=64', '-cf', archive, '.']);
  const boot = join(tree, 'boot');
  const named = (start: string) => join(boot, readdirSync(boot).find(name => name.startsWith(start)) ?? start);
  return { kernel: named('vmlinuz-'), initrd: named('initrd.img-'), disk, packages: archive };
}
