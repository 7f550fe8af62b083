/** Bundles the command: one entry, a chunk for each role, minified, since the text of a program is memory on a small board. */
import { rmSync } from 'node:fs';
import { build } from 'esbuild';

const outdir = 'build/dist';

rmSync(outdir, { recursive: true, force: true });
await build({
  entryPoints: { main: 'src/main.ts', 'board-reader': 'src/device/board-reader.ts' },
  outdir,
  bundle: true,
  splitting: true,
  minify: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  chunkNames: '[name]-[hash]',
  // it carries a native library for each platform
  external: ['libsql'],
  // what is still CommonJS in dependencies asks for `require`
  banner: {
    js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
  },
  legalComments: 'external',
  logLevel: 'warning',
});
