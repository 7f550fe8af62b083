/**
 * Bundles the command: one entry, a chunk for each role, minified, since the text of a program is memory on a small board. What is
 * bundled is a development dependency in package.json: who installs the package gets it inside, and `libsql` alone beside it.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from 'esbuild';

const outdir = 'build/dist';

rmSync(outdir, { recursive: true, force: true });
const { metafile } = await build({
  entryPoints: {
    main: 'src/main.ts',
    'board-reader': 'src/device/board-reader.ts',
    'speed-meter': 'src/device/speed-meter.ts',
  },
  outdir,
  bundle: true,
  splitting: true,
  minify: true,
  metafile: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  chunkNames: '[name]-[hash]',
  // it carries a native library for each platform
  external: ['libsql'],
  // made for browsers and older Nodes: Node's own are the same
  alias: { 'readable-stream': 'node:stream', 'worker-timers': 'node:timers' },
  // what is still CommonJS in dependencies asks for `require`
  banner: {
    js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
  },
  legalComments: 'none',
  logLevel: 'warning',
});
writeFileSync(join(outdir, 'LICENSES.txt'), licensesOf(Object.keys(metafile.inputs)));

// what a master hands to machines that shall be nodes
const sources = 'scripts/package';
const units = ['mesolite-agent.service', 'mesolite-agent.socket', 'mesolite-agent-outbound.socket'];
mkdirSync(join(outdir, 'install'));
for (const file of [
  ...['install.sh', 'mesolite', 'mesolite-join', 'start-agent', 'debian/mesolite-agent.default'],
  ...units.map(unit => `systemd/${unit}`),
]) {
  cpSync(join(sources, file), join(outdir, 'install', basename(file)));
}

/** The licenses of the packages that these files are from: most want to go with every copy. */
function licensesOf(files: readonly string[]): string {
  const folders = new Set(files.flatMap(file => /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []));
  const texts = [...folders].sort().map(folder => {
    const { name, version, license }: Record<string, string> = JSON.parse(
      readFileSync(join(folder, 'package.json'), 'utf8'),
    );
    const names = readdirSync(folder).filter(file => /^(licen[cs]e|copying|notice)/i.test(file));
    const full = names.map(file => readFileSync(join(folder, file), 'utf8').trim());
    return [`${name} ${version} (${license})`, ...full].join('\n\n');
  });
  return `The program contains these packages.\n\n${texts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`;
}
