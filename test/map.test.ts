/** src/README.md is the map of the house: what it names exists, and what exists has its place on it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { codeIn, fencesOf, tablesUnder } from './fixtures/markdown.ts';

const map = readFileSync('src/README.md', 'utf8');
const rooms = readdirSync('src', { withFileTypes: true })
  .filter(entry => entry.isDirectory())
  .map(entry => entry.name);

/** As test/imports.ts has them: it decides. */
function layersOfImports(): Map<string, number> {
  const [, list = ''] = /const layers[^{]*\{([^}]*)\}/.exec(readFileSync('test/imports.ts', 'utf8')) ?? [];
  return new Map([...list.matchAll(/(\w+): (\d)/g)].map(([, room = '', layer]) => [room, Number(layer)]));
}

t.test('each room is on the map with its layer', async t => {
  const [table] = tablesUnder(map, 'Rooms');
  const named = (table?.rows ?? []).map(([layer, room = '']) => [codeIn(room)[0]?.replace('/', ''), Number(layer)]);
  const layers = layersOfImports();
  t.same(
    named,
    named.toSorted(([, a], [, b]) => Number(a) - Number(b)),
    'from the lowest layer up',
  );
  t.same(new Map(named as [string, number][]), new Map(rooms.map(room => [room, layers.get(room) ?? -1])));
});

t.test('the drawing has each room on the line of its layer', async t => {
  const [drawing] = fencesOf(map);
  const layers = layersOfImports();
  for (const line of drawing?.text.split('\n') ?? []) {
    const [, layer] = /^ (\d)/.exec(line) ?? [];
    for (const [, room = ''] of line.matchAll(/(\w+)\//g)) t.equal(layers.get(room), Number(layer), `${room}/`);
  }
  for (const room of rooms) t.ok(drawing?.text.includes(`${room}/`), `${room}/ is drawn`);
});

t.test('every path on the map exists', async t => {
  const walks = fencesOf(map)
    .slice(1)
    .flatMap(({ text }) => text.match(/[a-z-]+(\/[a-z-]+)+/g) ?? []);
  t.ok(walks.length > 50, 'the walks are written as paths');
  for (const path of walks) t.ok(existsSync(join('src', `${path}.ts`)), path);
  for (const path of codeIn(map).filter(code => /^[\w/-]*(\/|\.ts)$/.test(code))) {
    t.ok(existsSync(path.startsWith('test/') ? path : join('src', path)), path);
  }
});

t.test('each walk goes from role to role only by a message, or over HTTP from the command line', async t => {
  for (const { text } of fencesOf(map).slice(1)) {
    for (const part of text.split(/⇢|\n(?=\S)/)) {
      const roles = new Set([...part.matchAll(/\b(agent|master|cli)\//g)].map(([, role]) => role));
      t.notOk(roles.has('agent') && roles.has('master'), `${part.trim().split('\n')[0]}: one side of the wire`);
    }
  }
});

t.test('every file that the README of a room names is there', async t => {
  for (const room of rooms.filter(room => existsSync(join('src', room, 'README.md')))) {
    const named = codeIn(readFileSync(join('src', room, 'README.md'), 'utf8')).filter(code =>
      /^[\w/-]+\.ts$/.test(code),
    );
    for (const path of named)
      t.ok(
        [`src/${room}`, 'src', '.'].some(under => existsSync(join(under, path))),
        `${room}: ${path}`,
      );
  }
});
