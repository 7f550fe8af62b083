import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { OpenSource } from '../../src/agent/artifact-cache.ts';
import { openArtifacts } from '../../src/agent/artifacts.ts';
import { silentLog } from '../../src/base/log.ts';
import { systemClock } from '../../src/device/clock.ts';
import { fetchRange } from '../../src/link/fetch-range.ts';
import type { TaskArtifact } from '../../src/model/artifact.ts';
import type { TaskSpec } from '../../src/model/task.ts';
import { taskSpec } from '../fixtures/task-spec.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';

const { keyPem: key, chainPem: cert } = makeTestAuthority(Date.now()).server();
const sha256Of = (text: string) => createHash('sha256').update(text).digest('hex');
const content = 'what a task needs. '.repeat(20_000);
const sha256 = sha256Of(content);

/** A server that answers as the test says, and remembers which ranges it was asked for. */
async function serve(t: Test, answer: RequestListener) {
  const ranges: (string | undefined)[] = [];
  const server = createServer({ key, cert }, (request, response) => {
    ranges.push(request.headers.range);
    return answer(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { ranges, at: `https://127.0.0.1:${(server.address() as AddressInfo).port}/app` };
}

/** Sends all, or the rest that is asked for; `breakAt` cuts the connection there. */
function sending(text: string, etag = '"1"', breakAt = (_ofRequest: number) => text.length): RequestListener {
  let count = 0;
  return (request, response) => {
    const isSame = request.headers['if-range'] === undefined || request.headers['if-range'] === etag;
    const from = Number((isSame && /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1]) || 0);
    if (from >= text.length) return void response.writeHead(416).end();
    const range = `bytes ${from}-${text.length - 1}/${text.length}`;
    response.writeHead(from > 0 ? 206 : 200, {
      etag,
      'content-length': text.length - from,
      ...(from > 0 && { 'content-range': range }),
    });
    const end = breakAt(count++);
    response.write(text.slice(from, end), () => (end < text.length ? response.destroy() : response.end()));
  };
}

/** Artifacts of a node over `directory`, whose waits between attempts are short. */
async function open(
  directory: string,
  { totalBytes = 1e9, desired = [] as readonly TaskSpec[], keys = [] as readonly string[], onStock = () => {} } = {},
) {
  const tls = () => ({ rejectUnauthorized: false });
  const source: OpenSource = (text, begun, _attempt, signal) =>
    fetchRange(() => ({ tls, verifyServer: () => undefined }), new URL(text), begun, signal);
  const clock = { ...systemClock, sleep: (_: number, signal: AbortSignal) => systemClock.sleep(1, signal) };
  const parts = { open: source, clock, random: () => 0.5, log: silentLog, desired: () => desired, onStock };
  return openArtifacts(parts, { directory: join(directory, 'cache'), totalBytes, keys });
}

const artifact = (source: string, changes: Partial<TaskArtifact> = {}): TaskArtifact => {
  return { source, sha256, unpack: 'auto', ...changes };
};
const never = new AbortController().signal;
const noWords = () => {};
const cached = (home: string) => readdirSync(join(home, 'cache')).sort();

t.test('a download that breaks off goes on where it was, also in another process', async t => {
  const home = t.testdir({ one: {}, two: {} });
  const { ranges, at } = await serve(
    t,
    sending(content, '"1"', n => (n < 2 ? (n + 1) * 100_000 : content.length)),
  );
  const said: string[] = [];
  const stop = new AbortController();
  const first = (await open(home)).place(
    [artifact(at)],
    join(home, 'one'),
    text => {
      said.push(text);
      if (/tries on/.test(text)) stop.abort(new Error('the agent stops'));
    },
    stop.signal,
  );
  await t.rejects(first, /the agent stops/);
  t.match(said, [`fetching ${at}`, new RegExp(`^cannot fetch ${at} and tries on: `)]);
  t.notOk(existsSync(join(home, 'one/sandbox')), 'all or nothing');
  t.same(readdirSync(join(home, 'one')), []);
  await (await open(home)).place([artifact(at, { executable: true })], join(home, 'two'), noWords, never);
  t.equal(readFileSync(join(home, 'two/sandbox/app'), 'utf8'), content);
  t.equal(statSync(join(home, 'two/sandbox/app')).mode & 0o777, 0o755);
  t.equal(ranges[0], undefined);
  for (const range of ranges.slice(1)) t.match(range, /^bytes=[1-9]\d*-$/);
  t.same(cached(home), [sha256]);
});

t.test('a file that has changed on its server since it was begun is fetched anew', async t => {
  const home = t.testdir({ task: {} });
  const old = sending('x'.repeat(1_000_000), '"old"', () => 500_000);
  const fresh = sending(content, '"new"');
  let count = 0;
  const { at } = await serve(t, (request, response) => (count++ === 0 ? old : fresh)(request, response));
  await (await open(home)).place([artifact(at)], join(home, 'task'), noWords, never);
  t.equal(readFileSync(join(home, 'task/sandbox/app'), 'utf8'), content);
});

t.test('what has another hash is never there, and nothing of it is kept', async t => {
  const home = t.testdir({ task: {} });
  const { at } = await serve(t, sending('something else'));
  const placed = (await open(home)).place([artifact(at)], join(home, 'task'), noWords, never);
  await t.rejects(placed, {
    code: 'INVALID_INPUT',
    message: `${at}: its sha256 is ${sha256Of('something else')}, expected ${sha256}`,
  });
  t.same(readdirSync(join(home, 'task')), []);
  t.same(cached(home), []);
});

t.test('what a server refuses is told, and a redirect goes to https alone', async t => {
  const home = t.testdir({ task: {} });
  const { at } = await serve(t, ({ url }, response) => {
    if (url === '/app') return void response.writeHead(404).end();
    if (url === '/vast') return void response.writeHead(200, { 'content-length': 2 ** 31 }).write('the first of many');
    const location = url === '/plain' ? 'http://127.0.0.1/app' : url;
    response.writeHead(302, { location }).end();
  });
  const placed = async (source: string) =>
    (await open(home)).place([artifact(source)], join(home, 'task'), noWords, never);
  await t.rejects(placed(at), { code: 'NOT_FOUND', message: /answers 404/ });
  await t.rejects(placed(at.replace('app', 'plain')), { code: 'FORBIDDEN', message: /only https is followed/ });
  await t.rejects(placed(at.replace('app', 'vast')), { code: 'TOO_LARGE', message: /it has 2147483648 bytes/ });
  await t.rejects(placed(at.replace('app', 'round')), { code: 'NOT_FOUND', message: /5 other places/ });
});

t.test('many tasks that need the same wait for one download, and one that is on the disk needs no server', async t => {
  const home = t.testdir(Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`t${i}`, {}])));
  const { ranges, at } = await serve(t, sending(content));
  const artifacts = await open(home);
  const tasks = Array.from({ length: 19 }, (_, i) => join(home, `t${i}`));
  await Promise.all(tasks.map(task => artifacts.place([artifact(at)], task, noWords, new AbortController().signal)));
  t.equal(ranges.length, 1);
  await artifacts.place([artifact('https://127.0.0.1:1/app')], join(home, 't19'), noWords, never);
  t.ok(existsSync(join(home, 't19/sandbox/app')));
  t.equal(ranges.length, 1);
  const { holds, bytesPerSecond = 0 } = (await artifacts.stock.news(true)) ?? {};
  t.same(holds, { [sha256.slice(0, 16)]: content.length });
  t.ok(bytesPerSecond > 0, 'and how fast it came');
});

t.test('what was damaged on the disk is fetched again, and a directory that is there is left alone', async t => {
  const home = t.testdir({ one: {}, two: {} });
  const { ranges, at } = await serve(t, sending(content));
  const artifacts = await open(home);
  await artifacts.place([artifact(at)], join(home, 'one'), noWords, never);
  writeFileSync(join(home, 'one/sandbox/app'), 'its own by now');
  // as a power cut leaves what was not written yet
  truncateSync(join(home, 'cache', sha256), 1000);
  await artifacts.place([artifact(at)], join(home, 'one'), noWords, never);
  t.equal(readFileSync(join(home, 'one/sandbox/app'), 'utf8'), 'its own by now');
  await artifacts.place([artifact(at)], join(home, 'two'), noWords, never);
  t.equal(readFileSync(join(home, 'two/sandbox/app'), 'utf8'), content);
  t.equal(ranges.length, 2);
});

t.test('what was unused for longest goes where there is no room, and what a wanted task needs never does', async t => {
  const home = t.testdir(Object.fromEntries(['a', 'b', 'c', 'd', 'again'].map(name => [name, {}])));
  const textOf = (name: string) => name.repeat(1000);
  const { at } = await serve(t, (request, response) => sending(textOf(request.url?.at(-1) ?? ''))(request, response));
  const of = (name: string) => artifact(at.replace('app', name), { sha256: sha256Of(textOf(name)), destination: name });
  const desired: TaskSpec[] = [taskSpec({ artifacts: [of('a')] })];
  let news = 0;
  const artifacts = await open(home, { totalBytes: 2_500, desired, onStock: () => void news++ });
  for (const name of ['a', 'b', 'c']) await artifacts.place([of(name)], join(home, name), noWords, never);
  t.same(cached(home), ['a', 'c'].map(name => sha256Of(textOf(name))).sort());
  t.equal(news, 3);
  const holds = Object.fromEntries(['a', 'c'].map(name => [sha256Of(textOf(name)).slice(0, 16), 1000]));
  t.same(await artifacts.stock.news(false), { holds }, 'so little says nothing of the rate');
  t.equal(await artifacts.stock.news(false), undefined, 'it is told once');
  t.same(await artifacts.stock.news(true), { holds });
  const given = await Promise.all([artifacts.giveBack(5_000), artifacts.giveBack(5_000)]);
  t.equal(given[0] + given[1], 1_000, 'what is asked for on a full disk is given once');
  t.same(cached(home), [sha256Of(textOf('a'))]);
  await artifacts.place([of('c')], join(home, 'again'), noWords, never);
  desired.push(taskSpec({ artifacts: [of('c')] }));
  const placed = artifacts.place([of('d')], join(home, 'd'), noWords, never);
  await t.rejects(placed, { code: 'TOO_LARGE', message: /no room: artifacts that are needed take 2000 of 2500 bytes/ });
  t.same(cached(home), ['a', 'c'].map(name => sha256Of(textOf(name))).sort());
});

const notRoot = process.getuid?.() !== 0 && 'only root gives files to others';

t.test('what a task gets is its own to write to, whoever it runs as', { skip: notRoot }, async t => {
  const home = t.testdir({ task: {} });
  const { at } = await serve(t, sending(content));
  const nobody = { uid: 65_534, gid: 65_534 };
  const { place } = await open(home);
  await place([artifact(at, { destination: 'conf/app' })], join(home, 'task'), noWords, never, nobody);
  for (const path of ['', 'conf', 'conf/app']) t.match(statSync(join(home, 'task/sandbox', path)), nobody, path);
});

/** Made by minisign itself for a file with the word `test`. */
const minisignKey = 'RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3';
const ownSignature = [
  'untrusted comment: signature from minisign secret key',
  'RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=',
  'trusted comment: timestamp:1633700835\tfile:test\tprehashed',
  'wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==',
  '',
].join('\n');

t.test('where artifacts have to be signed, one that is not as it should be is refused with the reason', async t => {
  const home = t.testdir({ task: {} });
  const { ranges, at } = await serve(t, (request, response) =>
    response.end(request.url === '/app/test' ? 'test' : 'else'),
  );
  const other = `${minisignKey.slice(0, 8)}AAAA${minisignKey.slice(12)}`;
  const place = async (signature: string | undefined, name = 'test', keys = [minisignKey]) => {
    const { place } = await open(home, { keys });
    const source = { ...artifact(`${at}/${name}`), sha256: sha256Of(name), unpack: 'none' as const };
    await place([{ ...source, ...(signature && { signature }) }], join(home, 'task'), noWords, never);
  };
  const refused = (work: Promise<void>, message: RegExp) => t.rejects(work, { code: 'UNTRUSTED', message });
  await refused(place(undefined), /has no signature of it, and this node takes what is signed by E7620F1842B4E81F/);
  t.equal(ranges.length, 0, 'nor is it fetched');
  await refused(place(ownSignature, 'else'), /by the key E7620F1842B4E81F is of another file/);
  await refused(
    place(ownSignature, 'test', [other]),
    /signed by the key E7620F1842B4E81F, and this node takes .* by \w{16}$/,
  );
  await refused(place(ownSignature.replace('file:test', 'file:tset')), /comment of its signature was changed/);
  await refused(place(ownSignature.replace('RUQf', 'RWQf')), /of an old kind/);
  const fetched = (await open(home, { keys: [minisignKey] })).fetch(artifact(`${at}/test`), noWords, never);
  await t.rejects(fetched, { code: 'UNTRUSTED', message: /has no signature of it/ }, 'nor what no task asks for');
  await place(ownSignature);
  t.equal(readFileSync(join(home, 'task', 'sandbox', 'test'), 'utf8'), 'test');
  await t.rejects(open(home, { keys: ['RWQ'] }), { code: 'INVALID_INPUT', message: /public key of minisign/ });
});
