import fc from 'fast-check';
import t from 'tap';
import { Cell } from '../../src/base/cell.ts';
import { Decisions } from '../../src/proxy/decisions.ts';
import { Tallies } from '../../src/proxy/tallies.ts';
import { Head } from '../../src/proxy/wire/head.ts';
import { parseRequest } from '../../src/proxy/wire/parse.ts';
import { policyOf } from '../fixtures/proxy-node.ts';

const asking = {
  identity: { namespace: 'default', serviceAccount: 'web', labels: {} },
  principal: 'edge.local/ns/default/sa/client',
  sourceIp: '10.0.0.1',
  destinationIp: '10.0.0.2',
  destinationPort: 80,
  serverName: '1.web.default.mesh',
};
const head = new Head();

function deciding(...specs: object[]) {
  const policy = new Cell(policyOf('allow', ...specs));
  const decisions = new Decisions(policy, new Tallies(), 64);
  const ask = (target: string, lines = '', changes: Partial<typeof asking> = {}) => {
    const bytes = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: web\r\n${lines}\r\n`);
    if (parseRequest(head, bytes, 0, bytes.length) <= 0) throw new Error('not a request');
    return decisions.decide(decisions.scopeOf({ ...asking, ...changes }), head, bytes);
  };
  return { policy, ask };
}

t.test('the same question gets the same decision, whatever its query', async t => {
  const { ask } = deciding();
  const first = ask('/a?x=1');
  t.equal(ask('/a?x=2'), first);
  t.equal(ask('/a'), first);
  t.not(ask('/b'), first);
  t.match(first, { allow: true, method: 'GET', host: 'web', path: '/a', rule: 'no-policy' });
});

t.test('what is remembered of one request never answers another', async t => {
  const when = [
    { key: 'request.headers[x-a]', notValues: ['a', 'b,'] },
    { key: 'request.headers[x-b]', notValues: ['a', 'b,a'] },
  ];
  const rules = [{ to: [{ operation: { methods: ['GET'], paths: ['/a*'], hosts: ['a'] } }], when }];
  const policy = new Cell(policyOf('allow', { action: 'ALLOW', rules }));
  const remembering = new Decisions(policy, new Tallies(), 64);
  const request = fc.record({
    method: fc.constantFrom('GET', 'PUT', 'G'),
    path: fc.string({ unit: fc.constantFrom('a', 'b', '/', 'A'), maxLength: 6 }),
    host: fc.string({ unit: fc.constantFrom('a', 'A', 'b'), minLength: 1, maxLength: 3 }),
    lines: fc.array(fc.constantFrom('x-a: a', 'X-A: b', 'x-a:', 'x-b: a', 'x-b: b', 'X-B: ', 'x-c: a'), {
      maxLength: 3,
    }),
  });
  fc.assert(
    fc.property(request, ({ method, path, host, lines }) => {
      const head = new Head();
      const bytes = Buffer.from([`${method} /${path} HTTP/1.1`, `Host: ${host}`, ...lines, '', ''].join('\r\n'));
      parseRequest(head, bytes, 0, bytes.length);
      const [known, anew] = [remembering, new Decisions(policy, new Tallies(), 64)].map(decisions =>
        decisions.decide(decisions.scopeOf(asking), head, bytes),
      );
      t.same(known, anew);
    }),
    { numRuns: 2000 },
  );
});

t.test("a new policy knows nothing of the old one's decisions", async t => {
  const { policy, ask } = deciding();
  t.ok(ask('/').allow);
  policy.set(policyOf('deny'));
  t.match(ask('/'), { allow: false, rule: 'mesh-default', answer: { status: 403 } });
});

t.test('what the rules read is part of the question', async t => {
  const byHeader = { action: 'DENY', rules: [{ when: [{ key: 'request.headers[X-Bad]', values: ['yes'] }] }] };
  const header = deciding(byHeader);
  t.ok(header.ask('/').allow);
  t.notOk(header.ask('/', 'x-bad: yes\r\n').allow);
  t.ok(header.ask('/', 'x-bad: no\r\n').allow);
  t.ok(header.ask('/').allow);
  const address = deciding({ action: 'DENY', rules: [{ from: [{ source: { ipBlocks: ['10.9.0.0/16'] } }] }] });
  t.ok(address.ask('/').allow);
  t.notOk(address.ask('/', '', { sourceIp: '10.9.1.1' }).allow);
  const principal = deciding({ action: 'DENY', rules: [{ from: [{ source: { principals: ['*/sa/bad'] } }] }] });
  t.ok(principal.ask('/').allow);
  t.notOk(principal.ask('/', '', { principal: 'edge.local/ns/default/sa/bad' }).allow);
});

t.test('a path is decided and goes on in its normal form; one that has none is a bad request', async t => {
  const { ask } = deciding({ action: 'DENY', rules: [{ to: [{ operation: { paths: ['/admin*'] } }] }] });
  t.match(ask('/x/../%61dmin'), { allow: false, path: '/admin', rule: 'default/p0#0' });
  t.match(ask('/x/%2e%2e/y?z'), { allow: true, path: '/y', pathChanged: true });
  t.match(ask('/a%00b'), { allow: false, answer: { status: 400 } });
});

t.test('a question too long to keep is answered all the same', async t => {
  const { ask } = deciding();
  const long = `/${'x'.repeat(2000)}`;
  t.ok(ask(long).allow);
  t.not(ask(long), ask(long));
  const rules = [{ when: [{ key: 'request.headers[x-bad]', values: ['*1'] }] }];
  const header = deciding({ action: 'DENY', rules });
  t.ok(header.ask('/', `x-bad: ${long}0\r\n`).allow);
  t.notOk(header.ask('/', `x-bad: ${long}1\r\n`).allow);
});

t.test('what an AUDIT policy reads is told apart, and costs nothing where there is none', async t => {
  const rules = [{ when: [{ key: 'request.headers[x-role]', values: ['admin'] }] }];
  const { ask } = deciding({ action: 'AUDIT', rules });
  t.equal(ask('/').shadow, undefined);
  t.match(ask('/', 'X-Role: admin\r\n'), { allow: true, shadow: { audited: 'default/p0#0', effects: ['audit'] } });
  t.equal(ask('/', 'X-Role: guest\r\n').shadow, undefined);
  const policy = new Cell(policyOf('allow', { action: 'DENY', rules }));
  t.equal(new Decisions(policy, new Tallies(), 64).scopeOf(asking).tallies, undefined);
});
