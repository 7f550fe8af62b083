import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import Libsql from 'libsql';
import t, { type Test } from 'tap';
import { openStore, type Store } from '../../src/store/store.ts';
import { newTask } from '../contracts/store-contract.ts';

const writer = fileURLToPath(new URL('../fixtures/store-writer.js', import.meta.url));

t.test('what was acknowledged is there after kill -9, at whatever moment', async t => {
  for (const acknowledgements of [2, 7, 61, 204]) {
    const path = join(t.testdir(), `store-${acknowledgements}.db`);
    const said = await writeUntilKilled(path, acknowledgements);
    const store = await openStore({ path });
    await hasAll(t, store, said);
    await store.close();
  }
});

t.test('a write goes on where the killed process stopped', async t => {
  const path = join(t.testdir(), 'store.db');
  await writeUntilKilled(path, 12);
  const store = await openStore({ path });
  t.equal(await store.meta.nextEpoch(), 2);
  await store.tasks.insert([newTask('after')]);
  t.ok(await store.tasks.get('after'));
  await store.close();
});

t.test('the files can be read by their owner alone', async t => {
  const dir = t.testdir({ 'there.db': '' });
  for (const name of ['new.db', 'there.db']) {
    const store = await openStore({ path: join(dir, name) });
    await store.meta.set('a', 'b');
    for (const file of readdirSync(dir).filter(each => each.startsWith(name))) {
      t.equal(statSync(join(dir, file)).mode & 0o777, 0o600, file);
    }
    await store.close();
  }
});

t.test('the store is closed and opened again with all that it had', async t => {
  const path = join(t.testdir(), 'store.db');
  const first = await openStore({ path });
  await first.meta.set('trustDomain', 'example');
  await first.close();
  const second = await openStore({ path });
  t.equal(await second.meta.get('trustDomain'), 'example');
  await second.close();
});

t.test('a second process on the same file is refused', async t => {
  const path = join(t.testdir(), 'store.db');
  const first = await openStore({ path });
  t.teardown(() => first.close());
  await t.rejects(openStore({ path }), {
    code: 'START_FAILED',
    message: /is a master running on this directory already/,
  });
});

t.test('a newer schema is refused and left as it is', async t => {
  const path = join(t.testdir(), 'store.db');
  await (await openStore({ path })).close();
  const raw = new Libsql(path);
  raw.exec('insert into schema_version (version) values (999)');
  raw.close();
  const tables = schemaOf(path);
  await t.rejects(openStore({ path }), { code: 'START_FAILED', message: /has schema 999, this version .* knows \d+/ });
  t.same(schemaOf(path), tables);
});

t.test('a damaged file is refused with what to do', async t => {
  const path = join(t.testdir({ 'text.db': 'this is no database\n'.repeat(500) }), 'text.db');
  const damaged = { code: 'START_FAILED', message: /the file is damaged .*restore a copy, or move it away/ };
  await t.rejects(openStore({ path }), damaged);

  const torn = join(t.testdir(), 'torn.db');
  const store = await openStore({ path: torn });
  await store.tasks.insert(Array.from({ length: 500 }, (_, i) => newTask(`t${i}`)));
  await store.close();
  const file = openSync(torn, 'r+');
  writeSync(file, Buffer.alloc(4096, 0xa5), 0, 4096, statSync(torn).size - 4096);
  closeSync(file);
  await t.rejects(openStore({ path: torn }), damaged);
});

t.test('a place where no file can be is named', async t => {
  const dir = t.testdir({ 'a-file': '' });
  for (const path of [join(dir, 'none', 'store.db'), dir, join(dir, 'a-file', 'store.db')]) {
    await t.rejects(openStore({ path }), {
      code: 'START_FAILED',
      message: new RegExp(`cannot open the database ${path}: E`),
    });
  }
});

t.test('a value that was changed by hand is refused with its place', async t => {
  const path = join(t.testdir(), 'store.db');
  const first = await openStore({ path });
  await first.tasks.insert([newTask('a')]);
  await first.close();
  const raw = new Libsql(path);
  raw.exec("update tasks set state = 'TASK_DREAMING'");
  raw.close();
  const store = await openStore({ path });
  t.teardown(() => store.close());
  await t.rejects(store.tasks.get('a'), { code: 'INVALID_INPUT', message: /stored task a: state: / });
});

function schemaOf(path: string): unknown {
  const raw = new Libsql(path);
  const answer = raw.prepare('select name, sql from sqlite_master').all();
  raw.close();
  return answer;
}

type Said = ReadonlyMap<string, readonly unknown[]>;

/** Runs the writer, kills it after so many acknowledgements, and gives all that it printed. */
async function writeUntilKilled(path: string, acknowledgements: number): Promise<Said> {
  const child: ChildProcessByStdio<null, Readable, null> = spawn(process.execPath, [writer, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const said = new Map<string, unknown[]>();
  let count = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const space = line.indexOf(' ');
    const values = said.get(line.slice(0, space)) ?? [];
    said.set(line.slice(0, space), [...values, JSON.parse(line.slice(space + 1))]);
    if (++count === acknowledgements) child.kill('SIGKILL');
  }
  await exited;
  return said;
}

async function hasAll(t: Test, store: Store, said: Said): Promise<void> {
  const values = (word: string) => said.get(word) ?? [];
  t.equal(await store.meta.epoch(), 1);
  const tasks = new Map((await store.tasks.list()).map(task => [task.id, task]));
  for (const id of values('task')) t.ok(tasks.has(String(id)), `${id} is there`);
  for (const [id, uuid] of values('status') as [string, string][]) {
    t.match((await store.tasks.history(id)).at(-1), { uuid });
    t.equal(tasks.get(id)?.state, 'TASK_RUNNING');
  }
  const documents = new Set((await store.documents.list()).map(document => document.name));
  for (const name of values('document')) t.ok(documents.has(String(name)), `${name} is there`);
  const assignment = await store.assignments.of('pi-1');
  const generation = Math.max(0, ...values('generation').map(Number));
  t.ok((assignment?.generation ?? 0) >= generation, 'no generation was given twice');
  t.equal(assignment?.tasks.length, assignment?.generation, 'a placement and its generation came together');
  const audited = (await store.audit.query({ limit: 1_000 })).entries.length;
  t.ok(audited >= values('audit').length, 'every acknowledged audit record is there');
}
