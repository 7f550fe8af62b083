/**
 * What a decision costs: asked anew of policies with 1 to 10,000 rules that differ in principal or in path, and remembered by the proxy; and how long
 * a push takes to be enforced. `npm run bench:policy -- [--json] [--agents 2,500] [--pushes 20]`.
 */
import { Buffer } from 'node:buffer';
import { parseArgs } from 'node:util';
import { Cell } from '../../src/base/cell.ts';
import { type AuthorizationPolicy, decodeDocument } from '../../src/model/document.ts';
import type { AuthorizationRequest } from '../../src/model/policy.ts';
import { authorize } from '../../src/policy/authorize.ts';
import { type CompiledPolicy, compilePolicy } from '../../src/policy/compile.ts';
import { Decisions } from '../../src/proxy/decisions.ts';
import { Tallies } from '../../src/proxy/tallies.ts';
import { Head } from '../../src/proxy/wire/head.ts';
import { parseRequest } from '../../src/proxy/wire/parse.ts';
import { measurePush } from './policy-push.ts';
import { printRows, type Row } from './table.ts';

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    agents: { type: 'string', default: '2,500' },
    pushes: { type: 'string', default: '20' },
  },
});

const sizes = [1, 10, 100, 1_000, 10_000] as const;
const rounds = 7;
const decisions = 50_000;
/**
 * Different requests that take turns. Few of them stay in the processor's cache, so that only the rules count; many each meet rules that are not
 * there, and then memory is what is measured.
 */
const mixes = [16, 1_024] as const;
const workload = { namespace: 'shop', serviceAccount: 'default', labels: { app: 'web' } };
/** A policy may hold so many rules. */
const rulesInPolicy = 500;

type Kind = 'principal' | 'path' | 'path and header';

const ruleOf = (kind: Kind, i: number) => {
  if (kind === 'principal')
    return { from: [{ source: { principals: [principalAt(i)] } }], to: [{ operation: { methods: ['GET'] } }] };
  const when = [{ key: 'request.headers[x-role]', values: ['reader'] }];
  return { to: [{ operation: { paths: [`/items/${i}/*`], methods: ['GET'] } }], ...(kind !== 'path' && { when }) };
};
const principalAt = (i: number) => `mesolite.local/ns/shop/sa/caller-${i}`;

function compiled(kind: Kind, rules: number): CompiledPolicy {
  const policies: AuthorizationPolicy[] = [];
  for (let from = 0; from < rules; from += rulesInPolicy) {
    const spec = {
      rules: Array.from({ length: Math.min(rulesInPolicy, rules - from) }, (_, i) => ruleOf(kind, from + i)),
    };
    const head = { apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy' };
    const document = decodeDocument({ ...head, metadata: { name: `p${from}`, namespace: 'shop' }, spec }, 'bench');
    if (document.kind === 'AuthorizationPolicy') policies.push(document);
  }
  return compilePolicy({
    trustDomain: 'mesolite.local',
    rootNamespace: 'root',
    meshDefault: 'allow',
    revision: 1,
    policies,
  });
}

/** Every second one meets a rule, wherever that is; the others meet none. */
function requestsOf(kind: Kind, rules: number, asked: number): AuthorizationRequest[] {
  return Array.from({ length: asked }, (_, i) => {
    const at = i % 2 === 0 ? Math.floor((i * rules) / asked) : rules + i;
    return {
      protocol: 'http',
      principal: principalAt(kind === 'principal' ? at : 0),
      sourceIp: '10.0.0.1',
      remoteIp: '10.0.0.1',
      destinationIp: '10.0.0.2',
      destinationPort: 8080,
      method: 'GET',
      host: 'web.shop',
      path: `/items/${at}/x`,
      header: () => undefined,
    };
  });
}

interface Subject {
  readonly name: string;
  readonly rules: number;
  /** Decides so many times; how often it was allowed. */
  decide(times: number): number;
}

function anew(kind: Kind, rules: number, asked: number): Subject {
  const policy = compiled(kind, rules).forWorkload(workload);
  const requests = requestsOf(kind, rules, asked);
  return {
    name: `${kind}, asked anew, ${asked} requests`,
    rules,
    decide(times) {
      let allowed = 0;
      for (let i = 0; i < times; i++) {
        const request = requests[i % asked];
        if (request !== undefined && authorize(policy, request).allow) allowed++;
      }
      return allowed;
    },
  };
}

/** As the proxy asks: with the bytes of a request as they came, for one caller of many. */
function remembered(kind: Kind, rules: number, asked: number): Subject {
  const cache = new Decisions(new Cell(compiled(kind, rules)), new Tallies(), 4 * asked);
  const asking = {
    identity: workload,
    sourceIp: '10.0.0.1',
    destinationIp: '10.0.0.2',
    destinationPort: 8080,
    serverName: 'web',
  };
  const known = requestsOf(kind, rules, asked).map(({ principal, path }) => {
    const head = new Head();
    const bytes = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: web.shop\r\nX-Role: reader\r\n\r\n`);
    parseRequest(head, bytes, 0, bytes.length);
    return { scope: cache.scopeOf({ ...asking, principal }), head, bytes };
  });
  return {
    name: `${kind}, remembered, ${asked} requests`,
    rules,
    decide(times) {
      let allowed = 0;
      for (let i = 0; i < times; i++) {
        const one = known[i % asked];
        if (one !== undefined && cache.decide(one.scope, one.head, one.bytes).allow) allowed++;
      }
      return allowed;
    },
  };
}

/** CPU time of one decision in nanoseconds: the median of rounds that take turns, so that what else runs disturbs all alike. */
function measure(subjects: readonly Subject[]): Map<Subject, number> {
  const times = new Map(subjects.map(subject => [subject, [] as number[]]));
  for (let round = 0; round <= rounds; round++) {
    for (const subject of subjects) {
      const before = process.cpuUsage();
      if (subject.decide(decisions) === 0) throw new Error(`${subject.name}: nothing was allowed`);
      const { user, system } = process.cpuUsage(before);
      if (round > 0) times.get(subject)?.push(((user + system) * 1000) / decisions);
    }
  }
  return new Map([...times].map(([subject, each]) => [subject, each.sort((a, b) => a - b)[rounds >> 1] ?? 0]));
}

/** Bytes that a remembered decision leaves for the collector; nothing may be collected in between. */
function garbage(subject: Subject): number {
  subject.decide(decisions);
  const collect: unknown = Reflect.get(globalThis, 'gc');
  if (typeof collect === 'function') collect();
  const before = process.memoryUsage().heapUsed;
  const times = 10 * decisions;
  subject.decide(times);
  return Math.max(0, process.memoryUsage().heapUsed - before) / times;
}

const goalGrowth = 2;

function decisionRows(): Row[] {
  const kinds: readonly Kind[] = ['principal', 'path'];
  const subjects = kinds.flatMap(kind =>
    mixes.flatMap(asked => sizes.flatMap(rules => [anew(kind, rules, asked), remembered(kind, rules, asked)])),
  );
  const measured = [...measure(subjects)];
  const rows = measured.map(([{ name, rules }, ns]): Row => {
    const ofTen = measured.find(([other]) => other.name === name && other.rules === 10)?.[1] ?? ns;
    const grows = ns / ofTen;
    const isJudged = rules > 10;
    return {
      case: `${name}, ${rules} rules`,
      value: Math.round(1e9 / ns),
      unit: 'decisions/s of CPU',
      peer: '10 rules',
      peerValue: Math.round(1e9 / ofTen),
      ratio: grows,
      goal: isJudged ? `cost at most ${goalGrowth} x of 10 rules` : '-',
      met: !isJudged || grows <= goalGrowth,
    };
  });
  const last = subjects.filter(({ name, rules }) => name.includes('remembered') && rules === 10_000);
  const left = [...last, remembered('path and header', 10_000, 16)].map((subject): Row => {
    const bytes = garbage(subject);
    return {
      case: `${subject.name}: garbage of a decision`,
      value: bytes,
      unit: 'bytes',
      peer: 'none',
      peerValue: 0,
      ratio: bytes,
      goal: 'below 1 byte',
      met: bytes < 1,
    };
  });
  return [...rows, ...left];
}

const rows = decisionRows();
for (const agents of options.agents.split(',').map(Number)) {
  const { p50Ms, p99Ms, latenessMs } = await measurePush(agents, Number(options.pushes));
  for (const [name, value] of [
    ['p50', p50Ms],
    ['p99', p99Ms],
  ] as const) {
    rows.push({
      case: `push to enforcement on ${agents} agents, ${name}`,
      value,
      unit: 'ms',
      peer: 'a timer that is late on this machine (p99)',
      peerValue: latenessMs,
      ratio: value / latenessMs,
      goal: '-',
      met: true,
    });
  }
}
printRows(rows, options.json);
