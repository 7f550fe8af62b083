/** The layers, the homes of heavy packages and the absence of cycles, each ban with its reason. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import t from 'tap';

/** Folders of src by layer; a file may import from a lower layer or from its own folder. */
const layers: Readonly<Record<string, number>> = {
  base: 0,
  model: 1,
  policy: 2,
  traffic: 2,
  scheduling: 2,
  lifecycle: 2,
  proxy: 3,
  device: 3,
  identity: 3,
  link: 3,
  broker: 3,
  store: 3,
  agent: 4,
  master: 4,
  cli: 4,
  console: 4,
};
const mainLayer = 5;

/** One home for each heavy package, since import discipline is memory discipline on a small board. */
const homes: Readonly<Record<string, { readonly folders: readonly string[]; readonly why: string }>> = {
  mqtt: { folders: ['link'], why: 'the link is the only way to the broker' },
  'mqtt-packet': { folders: ['link', 'broker'], why: 'the codec that both ends of the wire share' },
  aedes: { folders: ['broker'], why: 'only a master embeds a broker' },
  ws: { folders: ['link', 'proxy', 'broker'], why: 'MQTT over WebSocket, and upgrades in the proxy' },
  systeminformation: { folders: ['device'], why: 'it starts programs; only the probe may, at its cadence' },
  'node-forge': { folders: ['identity'], why: 'a DER codec: one reviewed place for certificates' },
  'lru-cache': { folders: ['proxy'], why: 'bounded caches belong to the hot path' },
  jose: {
    folders: ['proxy'],
    why: 'tokens are verified where requests are, by code that is loaded with the first one',
  },
  re2js: { folders: ['traffic'], why: 'one engine for the expressions of routes, loaded only where there is one' },
  kysely: { folders: ['store'], why: 'one set of queries' },
  libsql: { folders: ['store'], why: 'an agent never loads a database' },
  fastify: { folders: ['master'], why: 'an agent has no HTTP API' },
  croner: { folders: ['master'], why: 'only a master knows when a job is due' },
  '@fastify/swagger': { folders: ['master'], why: 'an agent has no HTTP API' },
  '@valibot/to-json-schema': { folders: ['master'], why: 'only the OpenAPI document needs JSON Schema' },
  'prom-client': { folders: ['master'], why: 'a node tells the master, the master tells Prometheus' },
  diff: { folders: ['cli'], why: 'only people compare texts' },
  'js-yaml': { folders: ['cli'], why: 'files of very many cases: it reads them twenty times as fast as yaml' },
  yaml: {
    folders: ['cli', 'model'],
    why: 'operators write YAML, to files and to the API; model/yaml-text.ts reads both alike',
  },
  tar: { folders: ['device'], why: 'archives are read and written in one place, which is loaded when there is one' },
  commander: { folders: ['cli'], why: 'the command line' },
  'cli-table3': { folders: ['cli'], why: 'the command line' },
  pino: { folders: ['device'], why: 'device/log.ts is the one sink of logs' },
  valibot: {
    folders: ['base', 'model', 'agent', 'master', 'cli', 'identity', 'device', 'store'],
    why: 'values are checked at the door',
  },
};

/** What layers 0 to 2 may not touch: they are pure, so that time, dice and the world are always arguments. */
const impure: readonly (readonly [RegExp, string])[] = [
  [/\bDate\.now\(|\bnew Date\(\)/, 'time is an argument'],
  [/\bMath\.random\(/, 'dice are an argument'],
  [/\bset(Timeout|Interval|Immediate)\(/, 'timers belong to the clock'],
  [/\bprocess\./, 'the process belongs to the roles'],
  [/\bconsole\./, 'layers 0 to 2 log nothing'],
];

interface Source {
  readonly path: string;
  readonly folder: string;
  readonly code: string;
  readonly imports: readonly { readonly target: string; readonly typeOnly: boolean }[];
}

const sources = listFiles('src')
  .filter(path => path.endsWith('.ts'))
  .map(readSource);

t.test('a file imports only from a lower layer or from its own folder', async t => {
  for (const { path, folder, imports } of sources) {
    for (const { target } of imports) {
      if (!target.startsWith('src/')) continue;
      const other = folderOf(target);
      const allowed = other === folder || layerOf(other) < layerOf(folder);
      if (!allowed)
        t.fail(`${path} imports ${target}: ${folder} is layer ${layerOf(folder)}, ${other} is ${layerOf(other)}`);
    }
  }
});

t.test('each folder of src has its layer', async t => {
  for (const { path, folder } of sources) t.ok(folder === '' || folder in layers, `${path}: a known folder`);
});

t.test('a heavy package is imported only at home', async t => {
  for (const { path, folder, imports } of sources) {
    for (const { target } of imports) {
      if (target.startsWith('src/') || target.startsWith('node:')) continue;
      const home = homes[packageOf(target)];
      if (home === undefined) t.fail(`${path} imports ${target}, which has no home in this test`);
      else if (!home.folders.includes(folder)) t.fail(`${path} imports ${target}: ${home.why}`);
      if (packageOf(target) === 'node-forge' && target !== 'node-forge/lib/asn1.js') {
        t.fail(`${path} imports ${target}: only node-forge/lib/asn1.js, the whole of it costs 10 MB`);
      }
    }
  }
});

t.test('an agent loads no YAML, no HTTP API, no database and no broker, through whatever files', async t => {
  const byPath = new Map(sources.map(source => [source.path, source]));
  const loaded = new Set<string>();
  const load = (path: string): void => {
    if (loaded.has(path)) return;
    loaded.add(path);
    for (const { target, typeOnly } of byPath.get(path)?.imports ?? [])
      if (!typeOnly) load(target.startsWith('src/') ? target : packageOf(target));
  };
  load('src/agent/agent.ts');
  t.ok(loaded.has('mqtt'), 'imports are followed');
  for (const name of ['yaml', 'fastify', 'kysely', 'libsql', 'aedes', 'commander']) {
    t.notOk(loaded.has(name), `${name}: memory that a small board has better use for`);
  }
});

t.test('layers 0 to 2 are pure', async t => {
  for (const { path, folder, code, imports } of sources) {
    if (layerOf(folder) > 2) continue;
    for (const { target, typeOnly } of imports) {
      if (target.startsWith('node:') && target !== 'node:buffer' && !typeOnly) t.fail(`${path} imports ${target}`);
    }
    for (const [pattern, why] of impure) {
      if (pattern.test(code)) t.fail(`${path} has ${pattern.source}: ${why}`);
    }
  }
});

t.test('there are no import cycles', async t => {
  const graph = new Map(
    sources.map(s => [s.path, s.imports.filter(i => i.target.startsWith('src/')).map(i => i.target)]),
  );
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) {
      t.fail(`cycle: ${[...trail.slice(trail.indexOf(path)), path].join(' → ')}`);
      return;
    }
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
});

t.test('no barrels, no default exports, no words that hide what a file is', async t => {
  for (const { path, code } of sources) {
    t.notMatch(
      path,
      /(^|\/)(index|utils?|helpers?|common|lib|manager|misc)\.ts$/,
      `${path}: named after its main thing`,
    );
    t.notMatch(code, /^export (default|\*)/m, `${path}: named exports only`);
  }
});

function listFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = `${folder}/${entry.name}`;
    return entry.isDirectory() ? listFiles(path) : [path];
  });
}

function readSource(path: string): Source {
  const code = readFileSync(path, 'utf8').replace(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, '');
  const statement =
    /(?:^|\n)\s*(?:import|export)\s+(type\s+)?(?:[^'";]*?from\s+)?'([^']+)'|\bimport\('([^']+)'\)|\brequire\('([^']+)'\)/g;
  const imports = [...code.matchAll(statement)].map(([, type, fixed, dynamic, required]) => {
    const target = fixed ?? dynamic ?? required ?? '';
    const resolved = target.startsWith('.') ? relative('.', normalize(join(dirname(path), target))) : target;
    return { target: resolved, typeOnly: type !== undefined };
  });
  return { path, folder: folderOf(path), code, imports };
}

function folderOf(path: string): string {
  const parts = path.split('/');
  return parts.length > 2 ? (parts[1] ?? '') : '';
}

function layerOf(folder: string): number {
  return folder === '' ? mainLayer : (layers[folder] ?? mainLayer);
}

function packageOf(target: string): string {
  return target
    .split('/')
    .slice(0, target.startsWith('@') ? 2 : 1)
    .join('/');
}
