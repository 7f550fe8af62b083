/**
 * Holds the program against Istio's own data, beside the checkout: each authorization case, path normalisation case and token, and the Bookinfo
 * files as they are through two real proxies, with the delay as long as it is. `--json` prints one object a row. The exit code is 1 when a
 * case does not agree, or when the data is not there.
 */
import { parseArgs } from 'node:util';
import { bookinfo, drawVersions, versionOf } from '../../test/fixtures/bookinfo.ts';
import {
  authorizationCases,
  type CorpusCase,
  corpusMissing,
  normalizationCases,
  readCorpus,
} from '../../test/fixtures/istio-corpus.ts';
import { Mesh, policyOf, RawClient, rawOrigin, serverNameOf, startNode } from '../../test/fixtures/proxy-node.ts';
import { tokensOf } from '../../test/fixtures/tokens.ts';
import { printRow, printTable, type Row } from './rows.ts';

const { values: options } = parseArgs({ options: { json: { type: 'boolean', default: false } } });
const runs = 10_000;
const threeSigma = 3 * Math.sqrt(runs * 0.8 * 0.2);
const maxExamples = 5;

const ends: (() => unknown)[] = [];
const owner = { teardown: (end: () => unknown) => void ends.push(end) };

function row(name: string, value: number, unit: string, goal: number): Row {
  return { case: name, value, unit, peer: null, ratio: null, goal, met: value <= goal };
}

function agreement(name: string, cases: readonly CorpusCase[]): Row {
  const differing = cases.filter(({ expected, got }) => expected !== got);
  for (const each of differing.slice(0, maxExamples)) {
    process.stderr.write(`${each.name}: got ${each.got}, expected ${each.expected}\n`);
  }
  return row(name, differing.length, `of ${cases.length} cases differ`, 0);
}

/** Each token to a proxy that knows all three issuers. */
async function tokenCases(): Promise<CorpusCase[]> {
  const mesh = new Mesh();
  const origin = await rawOrigin(owner, (socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const workloads = [mesh.workload('web', { appPort: origin.port })];
  const node = await startNode(owner, { workloads, policy: policyOf('allow') });
  const jwks = JSON.stringify(readCorpus<object>('jwks.json'));
  const jwtRules = [1, 2, 3].map(n => ({ issuer: `test-issuer-${n}@istio.io`, jwks }));
  node.requestAuthentication.set(tokensOf([{ jwtRules }]));
  const client = await RawClient.mesh(owner, mesh, 'shop', node, serverNameOf('web'));
  const cases: CorpusCase[] = [];
  const tokens = readCorpus<Record<string, { readonly raw: string }>>('jwt-tokens.json');
  for (const [name, { raw }] of Object.entries(tokens)) {
    const answer = await client.askWhole(`GET / HTTP/1.1\r\nHost: web\r\nAuthorization: Bearer ${raw}\r\n\r\n`);
    cases.push({ name, expected: name === 'TokenExpired' ? 401 : 200, got: Number(answer.slice(9, 12)) });
  }
  return cases;
}

async function weights(): Promise<Row> {
  const files = ['virtual-service-reviews-80-20.yaml', 'destination-rule-reviews.yaml'];
  const drawn = await drawVersions(await bookinfo(owner, 'reviews', files), runs);
  const first = drawn.get('v1') ?? 0;
  const lost = runs - first - (drawn.get('v2') ?? 0);
  const away = Math.abs(first - 0.8 * runs) + lost * runs;
  return row('Bookinfo: 80 to 20', away, `of ${runs} requests away from 8000, 3 sigma are ${threeSigma}`, threeSigma);
}

async function headerRoute(): Promise<CorpusCase[]> {
  const files = ['virtual-service-reviews-jason-v2-v3.yaml', 'destination-rule-reviews.yaml'];
  const { client, request } = await bookinfo(owner, 'reviews', files);
  const task = await client();
  const cases: CorpusCase[] = [];
  for (const [user, expected] of [
    ['jason', 'v2'],
    ['Jason', 'v3'],
    ['ann', 'v3'],
  ] as const) {
    const got = versionOf(await task.askWhole(request(`end-user: ${user}\r\n`)));
    cases.push({ name: user, expected, got });
  }
  return cases;
}

/** Jason waits seven seconds of the real clock, and nobody else does. */
async function delay(): Promise<CorpusCase[]> {
  const files = ['virtual-service-ratings-test-delay.yaml', 'destination-rule-all-mtls.yaml'];
  const { client, request, caller } = await bookinfo(owner, 'ratings', files);
  const task = await client();
  await task.askWhole(request());
  await task.askWhole(request('end-user: jason\r\n'));
  await caller.recorded(2);
  const [plain, delayed] = caller.records;
  return [
    { name: 'everybody else', expected: '200 -', got: `${plain?.status} ${plain?.flags}` },
    { name: 'jason', expected: '200 DI', got: `${delayed?.status} ${delayed?.flags}` },
    { name: 'jason waits 7 s', expected: true, got: (delayed?.durationMs ?? 0) >= 7_000 },
    { name: 'nobody else does', expected: true, got: (plain?.durationMs ?? 7_000) < 7_000 },
  ];
}

async function abort(): Promise<CorpusCase[]> {
  const { client, request } = await bookinfo(owner, 'details', ['fault-injection-details-v1.yaml']);
  const answer = await (await client()).askWhole(request());
  return [{ name: 'details', expected: '555', got: answer.slice(9, 12) }];
}

async function checkAll(): Promise<Row[]> {
  return [
    agreement('authorization', authorizationCases()),
    agreement('path normalisation', normalizationCases()),
    agreement('tokens', await tokenCases()),
    await weights(),
    agreement('Bookinfo: the header route', await headerRoute()),
    agreement('Bookinfo: the delay of 7 s', await delay()),
    agreement('Bookinfo: the abort', await abort()),
  ];
}

if (corpusMissing !== false) {
  process.stderr.write(`${corpusMissing}\n`);
  process.exit(1);
}
const rows = await checkAll();
for (const end of ends.reverse()) await end();
if (options.json) rows.forEach(printRow);
else {
  const lines = rows.map(each => [each.case, `${Math.round(each.value)} ${each.unit}`, each.met ? 'met' : 'NOT MET']);
  printTable([['case', 'value', 'verdict'], ...lines]);
}
process.exit(rows.every(({ met }) => met) ? 0 : 1);
