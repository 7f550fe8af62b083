/**
 * What the worst requests cost the mesh port, byte by byte of what was sent, against a plain one: CPU time and memory of a proxy in a process of
 * its own. None may cost a hundred times as much. `--json` prints one object a row. The exit code is 1 when one does.
 */
import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { parseArgs } from 'node:util';
import { serverNameOf } from '../../test/fixtures/proxy-node.ts';
import { Fleet } from './proxy/fleet.ts';
import { printRow, printTable, type Row } from './rows.ts';

const maxRatio = 100;
const { values: options } = parseArgs({ options: { json: { type: 'boolean', default: false } } });

/** So many messages on one connection, each answered before the next one is sent unless they are pipelined. */
interface Load {
  readonly count: number;
  readonly message: (index: number) => string;
  readonly isPipelined?: boolean;
  /** Each byte in a write of its own. */
  readonly isTorn?: boolean;
}

const get = (path: string, lines = '') => `GET ${path} HTTP/1.1\r\nHost: a\r\n${lines}\r\n`;
const chunkedHead = 'POST /always/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n';

const plain: Load = { count: 3_000, message: () => get('/always/x', 'Accept: */*\r\nUser-Agent: curl/8.0\r\n') };
const loads: Readonly<Record<string, Load>> = {
  'the shortest request': { count: 3_000, message: () => get('/') },
  'chunks of one byte': { count: 20, message: () => `${chunkedHead}${'1\r\nx\r\n'.repeat(20_000)}0\r\n\r\n` },
  '99 short headers': { count: 1_000, message: () => get('/always/x', 'a: b\r\n'.repeat(99)) },
  '97 headers that Connection names': {
    count: 300,
    message: () => {
      const names = Array.from({ length: 97 }, (_, i) => `a${i}`);
      return get('/always/x', `Connection: ${names.join(',')}\r\n${names.map(name => `${name}: b\r\n`).join('')}`);
    },
  },
  'denied requests, pipelined': { count: 20_000, message: () => get('/never/x'), isPipelined: true },
  'requests, pipelined': { count: 3_000, message: () => get('/always/x'), isPipelined: true },
  'a head of 15 KB byte by byte': {
    count: 2,
    message: () => get('/always/x', `${'a: b\r\n'.repeat(90)}X: ${'a'.repeat(14_000)}\r\n`),
    isTorn: true,
  },
  'paths of 15 KB': { count: 500, message: () => get(`/always/${'%61/../'.repeat(2_100)}`) },
  'a new path each time': { count: 3_000, message: index => get(`/always/${index}`) },
  'trailers of 7 KB': {
    count: 300,
    message: () => `${chunkedHead}0\r\n${'a: b\r\n'.repeat(95)}${`c: ${'d'.repeat(6_000)}`}\r\n\r\n`,
  },
};

async function open(fleet: Fleet): Promise<TLSSocket> {
  const { keyPem, chainPem } = fleet.mesh.identity('client');
  const socket = connect({
    host: '127.0.0.1',
    port: fleet.steady.meshPort,
    servername: serverNameOf('web'),
    key: keyPem,
    cert: chainPem,
    ca: fleet.mesh.authority.authority.rootPem,
    checkServerIdentity: () => undefined,
  });
  socket.setNoDelay(true);
  await once(socket, 'secureConnect');
  // who is refused in the middle of a request is told by the close
  socket.on('error', () => {});
  return socket;
}

/** Sends a load; how many bytes that were. */
async function send(fleet: Fleet, { count, message, isPipelined = false, isTorn = false }: Load): Promise<number> {
  const socket = await open(fleet);
  let answers = 0;
  let wanted = 0;
  let wake = () => {};
  socket.setEncoding('latin1');
  socket.on('data', (text: string) => {
    answers += text.split('HTTP/1.1 ').length - 1;
    if (answers >= wanted) wake();
  });
  const untilAnswered = (number: number) =>
    new Promise<void>((resolve, reject) => {
      wanted = number;
      wake = resolve;
      socket.once('close', () => reject(new Error(`closed behind ${answers} of ${number} answers`)));
      if (answers >= wanted) resolve();
    });
  socket.setMaxListeners(count + 10);
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    const text = message(i);
    bytes += text.length;
    if (!isTorn) socket.write(text, 'latin1');
    else for (const byte of text) await new Promise<void>(resolve => socket.write(byte, 'latin1', () => resolve()));
    if (!isPipelined) await untilAnswered(i + 1);
  }
  if (isPipelined) await untilAnswered(count);
  socket.destroy();
  return bytes;
}

/** Microseconds of CPU for each KiB that was sent, and MB that the process grew meanwhile. */
async function costOf(fleet: Fleet, load: Load): Promise<readonly [cpu: number, growthMb: number]> {
  // once before, so that code is compiled and buffers are there
  await send(fleet, { ...load, count: Math.ceil(load.count / 10) });
  await fleet.steady.measure();
  const [cpuMs, rssMb] = [fleet.steady.cpuMs, fleet.steady.rssMb.at(-1) ?? 0];
  const bytes = await send(fleet, load);
  await fleet.steady.measure();
  const { steady } = fleet;
  return [((steady.cpuMs - cpuMs) * 1000 * 1024) / bytes, (steady.rssMb.at(-1) ?? 0) - rssMb];
}

const fleet = new Fleet();
await fleet.start();
await costOf(fleet, plain);
const [peer] = await costOf(fleet, plain);
const rows: Row[] = [];
const round = (value: number) => Math.round(value * 100) / 100;
for (const [name, load] of Object.entries(loads)) {
  const [cpu, growthMb] = await costOf(fleet, load);
  const ratio = round(cpu / peer);
  const unit = `µs of CPU for a KiB, ${round(growthMb)} MB more`;
  rows.push({ case: name, value: round(cpu), unit, peer: round(peer), ratio, goal: maxRatio, met: ratio <= maxRatio });
}
await fleet.stop();
if (options.json) rows.forEach(printRow);
else {
  const lines = rows.map(each => [
    each.case,
    `${each.value} ${each.unit}`,
    `${each.ratio} x a plain request`,
    `at most ${each.goal}`,
    each.met ? 'met' : 'NOT MET',
  ]);
  printTable([['case', 'value', 'ratio', 'goal', 'verdict'], ...lines]);
}
process.exit(rows.every(({ met }) => met) ? 0 : 1);
