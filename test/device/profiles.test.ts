import { readdirSync, readFileSync } from 'node:fs';
import { toJsonSchema } from '@valibot/to-json-schema';
import t from 'tap';
import { decode, decodeJson } from '../../src/base/shape.ts';
import { chooseProfile, loadProfiles, unknownBoard } from '../../src/device/profiles.ts';
import { type Inventory, inventorySchema, profileSchema } from '../../src/model/profile.ts';

const board = (changes: Partial<Inventory>): Inventory => ({
  arch: 'arm64',
  cpuModel: '',
  cpuCount: 4,
  memoryMb: 1_024,
  deviceTreeModel: '',
  dmiProduct: '',
  virtual: false,
  os: 'Debian GNU/Linux 13',
  kernel: '6.12.0',
  ...changes,
});

t.test('each board gets its profile', async t => {
  const profiles = await loadProfiles('firmware-profiles');
  const table: readonly (readonly [Partial<Inventory>, string])[] = [
    [{ deviceTreeModel: 'Raspberry Pi Zero 2 W Rev 1.0', memoryMb: 416 }, 'raspberry-pi-zero-2-w'],
    [{ deviceTreeModel: 'Raspberry Pi Zero 2 W Rev 1.0', arch: 'arm' }, 'raspberry-pi-zero-2-w'],
    [{ deviceTreeModel: 'Raspberry Pi 3 Model B Rev 1.2', arch: 'arm' }, 'raspberry-pi-3'],
    [{ deviceTreeModel: 'Raspberry Pi 3 Model B Plus Rev 1.3' }, 'raspberry-pi-3'],
    [{ deviceTreeModel: 'Raspberry Pi 3 Model A Plus Rev 1.0' }, 'raspberry-pi-3'],
    [{ deviceTreeModel: 'Raspberry Pi Compute Module 3 Plus Rev 1.0' }, 'raspberry-pi-3'],
    [{ deviceTreeModel: 'Raspberry Pi 4 Model B Rev 1.5' }, 'raspberry-pi-4'],
    [{ deviceTreeModel: 'Raspberry Pi 400 Rev 1.0' }, 'raspberry-pi-4'],
    [{ deviceTreeModel: 'Raspberry Pi Compute Module 4 Rev 1.1' }, 'raspberry-pi-cm4'],
    [{ deviceTreeModel: 'Raspberry Pi 5 Model B Rev 1.0' }, 'raspberry-pi-5'],
    [{ deviceTreeModel: 'Raspberry Pi Compute Module 5 Rev 1.0', virtual: true }, 'raspberry-pi-5'],
    [{ deviceTreeModel: 'SeeedStudio BeagleBone Green', arch: 'arm' }, 'beaglebone-black'],
    [{ deviceTreeModel: 'Xunlong Orange Pi PC', arch: 'arm' }, 'generic-armv7'],
    [{ arch: 'x64', dmiProduct: 'Dell Inc. OptiPlex 7070' }, 'generic-x86-64'],
    [{ arch: 'x64', cpuModel: 'Intel N97' }, 'intel-n100'],
    [{ arch: 'x64', cpuModel: 'Intel i3-N305' }, 'intel-n100'],
    [{ arch: 'x64', cpuModel: 'Intel Core 3 N355' }, 'intel-n100'],
    [{ arch: 'x64', cpuModel: 'Intel(R) N100', virtual: true }, 'virtual-machine'],
    [{ arch: 'x64', cpuModel: 'Intel Celeron J4125' }, 'intel-atom'],
    [{ arch: 'x64', cpuModel: 'Intel Celeron G5905' }, 'generic-x86-64'],
  ];
  for (const [changes, name] of table) {
    t.equal(chooseProfile(board(changes), profiles).name, name, changes.deviceTreeModel ?? changes.arch ?? name);
  }
});

t.test('what boards said of themselves is recognised', async t => {
  const profiles = await loadProfiles('firmware-profiles');
  const table: Readonly<Record<string, string>> = {
    'beaglebone-black': 'beaglebone-black',
    'dell-edge-gateway-3001': 'intel-atom',
    'intel-n100-mini-pc': 'intel-n100',
    'jetson-orin-nano': 'jetson-orin-nano',
    'nanopi-r5s': 'generic-arm64',
    'pc-engines-apu2': 'generic-x86-64',
    'qemu-virtual-machine': 'virtual-machine',
    'raspberry-pi-3-model-b-plus': 'raspberry-pi-3',
    'raspberry-pi-4-model-b': 'raspberry-pi-4',
    'raspberry-pi-5': 'raspberry-pi-5',
    'raspberry-pi-compute-module-4': 'raspberry-pi-cm4',
    'raspberry-pi-zero-2-w': 'raspberry-pi-zero-2-w',
    'visionfive-2': 'unknown-board',
  };
  const chosen = readdirSync('test/fixtures/boards').map(file => {
    const inventory = decodeJson(inventorySchema, readFileSync(`test/fixtures/boards/${file}`), file);
    return [file.replace('.json', ''), chooseProfile(inventory, profiles).name];
  });
  t.strictSame(Object.fromEntries(chosen), table);
});

t.test("an operator's own profile goes before the one of the same name", async t => {
  const own = t.testdir({
    'raspberry-pi-5.json': JSON.stringify({ ...unknownBoard, name: 'raspberry-pi-5', title: 'mine' }),
  });
  const shipped = await loadProfiles('firmware-profiles');
  const both = await loadProfiles('firmware-profiles', own);
  t.strictSame(
    both.map(({ name }) => name),
    shipped.map(({ name }) => name),
  );
  t.equal(both.find(({ name }) => name === 'raspberry-pi-5')?.title, 'mine');
});

t.test('all that a match names must hold, and one match is enough', async t => {
  const profile = {
    ...unknownBoard,
    name: 'mine',
    precedence: 5,
    match: [
      { dmiProduct: '^ACME', minMemoryMb: 2_000 },
      { deviceTreeModel: 'Acme', maxMemoryMb: 512 },
    ],
  };
  const chosen = (changes: Partial<Inventory>) => chooseProfile(board(changes), [profile]).name;
  t.equal(chosen({ dmiProduct: 'ACME Box', memoryMb: 4_000 }), 'mine');
  t.equal(chosen({ dmiProduct: 'ACME Box', memoryMb: 1_000 }), 'unknown-board');
  t.equal(chosen({ deviceTreeModel: 'Acme', memoryMb: 512 }), 'mine');
  t.equal(chosen({ deviceTreeModel: 'Acme', memoryMb: 513 }), 'unknown-board');
});

t.test('of two that match equally the first by name is taken, in whatever order they came', async t => {
  const [a, b] = [
    { ...unknownBoard, name: 'a' },
    { ...unknownBoard, name: 'b' },
  ];
  t.equal(chooseProfile(board({}), [b, a]).name, 'a');
  t.equal(chooseProfile(board({}), [b, { ...a, precedence: 1 }]).name, 'a');
});

t.test('a bad profile is refused with its file and place', async t => {
  const good = { ...unknownBoard, name: 'mine' };
  const folder = (profile: object, name = 'mine') => t.testdir({ [`${name}.json`]: JSON.stringify(profile) });
  await t.rejects(loadProfiles(folder({ ...good, colour: 'red' })), {
    code: 'INVALID_INPUT',
    message: /mine\.json: colour: unknown field/,
  });
  await t.rejects(loadProfiles(folder({ ...good, heartbeatMs: 10 })), { message: /heartbeatMs/ });
  const matching = (cpuModel: string) => folder({ ...good, match: [{ cpuModel }] });
  for (const endless of ['^(a+)+$', '((a+))+$', '(a|a)+$', '(a|a){99}$', '(\\(a*)*'])
    await t.rejects(
      loadProfiles(matching(endless)),
      { message: /match\[0\]\.cpuModel: a group that repeats/ },
      endless,
    );
  await t.resolves(loadProfiles(matching('^Intel\\(R\\)+ [()]* N1\\d+( .*)?$')));
  await t.rejects(loadProfiles(folder({ ...good, thermal: { throttleC: 80, drainC: 79, resumeC: 70 } })), {
    message: /mine\.json: thermal: expected resumeC below throttleC/,
  });
  await t.rejects(loadProfiles(folder(good, 'other')), { message: /name: expected the name of the file, got mine/ });
  await t.rejects(loadProfiles(folder({ ...good, match: [{}, { dmiProduct: '(' }] })), {
    message: /mine\.json: match\[1\]\.dmiProduct: not a regular expression/,
  });
  await t.rejects(loadProfiles(folder({ ...good, title: 'x'.repeat(70_000) })), { code: 'TOO_LARGE' });
  await t.rejects(loadProfiles('no/such/folder'), { code: 'START_FAILED', message: /it does not exist/ });
});

t.test('the published JSON Schema says what the agent checks', async t => {
  const published = JSON.parse(readFileSync('firmware-profiles/schema.json', 'utf8'));
  t.strictSame(withoutWords(published), JSON.parse(JSON.stringify(toJsonSchema(profileSchema, { typeMode: 'input' }))));
});

t.test('the table for people agrees with the profiles', async t => {
  const readme = readFileSync('firmware-profiles/README.md', 'utf8');
  for (const { name, reserve, heartbeatMs } of await loadProfiles('firmware-profiles')) {
    const row = readme.split('\n').find(line => line.startsWith(`| \`${name}\` |`)) ?? '';
    t.match(row, `| ${reserve.cpus} cores, ${reserve.memMb} MB | ${heartbeatMs / 1000} s |`, name);
  }
});

t.test('the profile of an unknown board is itself a profile', async t => {
  t.strictSame(decode(profileSchema, unknownBoard, 'unknownBoard'), unknownBoard);
});

/** A JSON Schema without its titles and descriptions. */
function withoutWords(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withoutWords);
  if (typeof schema !== 'object' || schema === null) return schema;
  const words = (key: string, value: unknown) => ['title', 'description'].includes(key) && typeof value === 'string';
  return Object.fromEntries(
    Object.entries(schema)
      .filter(([key, value]) => !words(key, value))
      .map(([key, value]) => [key, withoutWords(value)]),
  );
}
