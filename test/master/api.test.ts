import { once } from 'node:events';
import { request } from 'node:https';
import { connect } from 'node:tls';
import t, { type Test } from 'tap';
import { MesoliteError } from '../../src/base/errors.ts';
import { serverTlsOptions } from '../../src/identity/contexts.ts';
import type { ApiFace } from '../../src/master/api/face.ts';
import { apiBounds, makeApi } from '../../src/master/api/server.ts';
import { rolloutView } from '../fixtures/api-views.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';

const { authority, server } = makeTestAuthority(Date.now());
const tokens: Readonly<Record<string, 'admin' | 'reader'>> = { 'token-of-admin': 'admin', 'token-of-reader': 'reader' };

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
  /** biome-ignore lint/suspicious/noExplicitAny: whatever came is looked at by the test */
  readonly json: any;
}

interface Call {
  readonly token?: string | undefined;
  readonly body?: string | Buffer;
  readonly type?: string;
  readonly authorization?: string;
}

/** What a master answers that has nothing. */
function emptyFace(): ApiFace {
  const none = async (): Promise<never> => Promise.reject(new MesoliteError('NOT_FOUND', 'there is nothing'));
  return {
    version: '1.2.3',
    async authenticate(token) {
      const role = tokens[token];
      return role && { name: role, role };
    },
    nodeOf: () => undefined,
    artifacts: { push: none, list: async () => [], remove: none, check: none, open: none, bytesOf: () => undefined },
    apply: none,
    remove: none,
    documents: async () => [],
    nodes: async () => [],
    jobs: async () => [],
    frameworks: async () => [],
    createCredential: none,
    credentials: async () => [],
    removeCredential: none,
    tasks: async () => [],
    watchTasks: () => {},
    commandUpdate: none,
    task: none,
    plan: none,
    drain: none,
    undrain: none,
    removeNode: none,
    takeOver: none,
    roles: none,
    explainTask: none,
    taskLog: none,
    followLog: none,
    exec: none,
    secrets: { put: none, list: async () => [], remove: none },
    services: async () => [],
    mesh: () => ({ trustDomain: 'edge', rootNamespace: 'istio-system', meshDefault: 'allow' }),
    policies: async () => [],
    rollouts: async () => [],
    commandRollout: none,
    audit: async () => ({ entries: [] }),
    auditChain: async () => ({ items: [], next: null }),
    events: async () => [],
    certificates: async () => [],
    revoke: none,
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4', text: 'up 1\n' }),
    authority: () => {
      throw new MesoliteError('UNAVAILABLE', 'there is no authority');
    },
    rotateAuthority: none,
    retireAuthority: none,
    createJoinToken: none,
    joinTokens: async () => [],
    revokeJoinToken: none,
    joins: async () => [],
    approveJoin: none,
    certifyBroker: none,
    denyJoin: none,
  };
}

/** A real HTTPS server with the API, and a client that trusts its authority. */
async function serve(t: Test, more: Partial<ApiFace> = {}) {
  const log = new CapturedLog();
  const tls = serverTlsOptions(server(), authority.bundle, 'caller', { minVersion: 'TLSv1.2' });
  const api = await makeApi({ face: { ...emptyFace(), ...more }, log }, tls);
  await api.listen({ host: '127.0.0.1', port: 0 });
  t.teardown(() => api.close());
  const address = api.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const call = (method: string, path: string, { token = 'token-of-admin', body, type, authorization }: Call = {}) =>
    new Promise<Answer>((resolve, reject) => {
      const headers = {
        authorization: authorization ?? `Bearer ${token}`,
        ...(body !== undefined && {
          'content-type': type ?? 'application/json',
          'content-length': Buffer.byteLength(body),
        }),
      };
      const asked = request({ host: '127.0.0.1', port, method, path, headers, ca: authority.rootPem, agent: false });
      asked.on('error', reject);
      asked.on('response', async response => {
        let text = '';
        for await (const chunk of response) text += String(chunk);
        const contentType = response.headers['content-type'] ?? '';
        const json = contentType.startsWith('application/json') ? JSON.parse(text) : undefined;
        resolve({ status: response.statusCode ?? 0, type: contentType, text, json });
      });
      asked.end(body);
    });
  return { call, log, api, port };
}

const refused = (status: number, code: string, message: RegExp | string) => ({
  status,
  json: { error: { code, message } },
});

t.test('whoever has no token is told so, on every path but three', async t => {
  const { call } = await serve(t);
  for (const path of ['/v1/nodes', '/v1/documents', '/metrics', '/v1/tasks/x/log', '/nothing', '/v1/join-tokens']) {
    for (const authorization of ['', 'Bearer', 'Bearer wrong', 'Basic token-of-admin', 'Bearer token-of-admin x']) {
      t.match(await call('GET', path, { authorization }), refused(401, 'UNAUTHENTICATED', /expected a valid token/));
    }
  }
  t.match(await call('GET', '/health', { authorization: '' }), { status: 200, json: { status: 'ok' } });
  t.match(await call('GET', '/v1/version', { authorization: '' }), { json: { version: '1.2.3' } });
  t.match(await call('GET', '/openapi.json', { authorization: '' }), { json: { openapi: /^3\./ } });
});

t.test('a reader may read and change nothing', async t => {
  let changed = 0;
  const change = async () => {
    changed++;
    return { results: [] };
  };
  const { call } = await serve(t, { apply: change, remove: async () => void changed++ });
  const token = 'token-of-reader';
  for (const path of ['/v1/nodes', '/v1/tasks', '/v1/audit', '/v1/documents', '/metrics', '/v1/joins']) {
    t.equal((await call('GET', path, { token })).status, 200, path);
  }
  const no = refused(403, 'FORBIDDEN', 'reader may read, not change');
  t.match(await call('POST', '/v1/documents', { token, body: '{"documents":[{}]}' }), no);
  t.match(await call('DELETE', '/v1/documents/Job/default/x', { token }), no);
  t.match(await call('POST', '/v1/join-tokens', { token, body: '{}' }), no);
  t.match(await call('POST', '/v1/nodes/pi-1/revoke', { token }), no);
  t.match(await call('POST', '/v1/joins/1/approve', { token }), no);
  t.match(await call('GET', '/nothing', { token }), no, 'what is not known is for nobody else either');
  t.equal(changed, 0);
});

t.test('what is not there is said in one shape, and where to look', async t => {
  const { call } = await serve(t);
  t.match(
    await call('GET', '/nothing?secret=1'),
    refused(404, 'NOT_FOUND', 'no such path: GET /nothing; see /openapi.json'),
  );
  t.match(await call('PUT', '/v1/nodes'), refused(404, 'NOT_FOUND', /no such path: PUT/));
  t.match(await call('GET', '/v1/tasks/none'), refused(404, 'NOT_FOUND', 'there is nothing'));
  t.match(await call('DELETE', '/v1/documents/Job/default/none'), refused(404, 'NOT_FOUND', 'there is nothing'));
});

t.test('a task is found by an id as long as ids may be', async t => {
  const asked: string[] = [];
  const { call } = await serve(t, {
    async taskLog({ task }) {
      asked.push(task);
      return 'hello\n';
    },
  });
  const id = `${'j'.repeat(63)}.${'n'.repeat(63)}.${'t'.repeat(63)}-abc123`;
  t.match(await call('GET', `/v1/tasks/${id}/log`), { status: 200, json: { task: id, data: 'hello\n' } });
  const tooLong = await call('GET', `/v1/tasks/${'x'.repeat(256)}`);
  t.ok([400, 404, 414].includes(tooLong.status), `a longer one is refused: ${tooLong.status}`);
  t.match(await call('GET', '/v1/tasks/..%2f..'), refused(400, 'INVALID_INPUT', /expected a task id/));
  t.same(asked, [id]);
});

t.test('a query is read strictly, and its defaults are filled in', async t => {
  const seen: unknown[] = [];
  const { call } = await serve(t, {
    async audit(query) {
      seen.push(query);
      return { entries: [] };
    },
    async taskLog(query) {
      seen.push(query);
      return '';
    },
  });
  await call('GET', '/v1/audit');
  await call('GET', '/v1/audit?since=5&verdict=deny&principal=a%2Fb&limit=7');
  await call('GET', '/v1/tasks/t/log?stream=stderr&tailBytes=10');
  t.same(seen, [
    { limit: 100 },
    { since: 5, verdict: 'deny', principal: 'a/b', limit: 7 },
    { task: 't', stream: 'stderr', tailBytes: 10 },
  ]);
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['/v1/audit?verdikt=deny', /verdikt: unknown field/],
    ['/v1/audit?limit=0', /limit: /],
    ['/v1/audit?limit=1001', /limit: expected at most 1000/],
    ['/v1/audit?limit=-1', /limit: expected a whole number/],
    ['/v1/audit?limit=5&limit=6', /limit: /],
    ['/v1/audit?since=yesterday', /since: expected a whole number/],
    ['/v1/tasks?job=Not_A_Name', /job: expected a name/],
    ['/v1/tasks/t/log?tailBytes=65537', /tailBytes: expected at most 65536/],
    ['/v1/tasks/t/log?stream=stdin', /stream: /],
    ['/v1/documents?kind=a&kind=b', /kind: /],
  ];
  for (const [path, message] of wrong) {
    t.match(await call('GET', path), refused(400, 'INVALID_INPUT', message), path);
  }
});

t.test('documents are taken as JSON and as YAML, the same', async t => {
  const applied: unknown[] = [];
  const { call } = await serve(t, {
    async apply(documents) {
      applied.push(documents);
      return { results: [] };
    },
  });
  const documents = [{ kind: 'Job', spec: { command: ['a', 'b'] } }, { kind: 'Other' }];
  t.match(await call('POST', '/v1/documents', { body: JSON.stringify({ documents }) }), { status: 200 });
  const yaml = '# remarks\n---\nkind: Job\nspec: { command: [a, b] }\n---\n\n---\nkind: Other\n';
  for (const type of ['application/yaml', 'text/yaml; charset=utf-8']) {
    t.match(await call('POST', '/v1/documents', { body: yaml, type }), { status: 200 });
  }
  t.same(applied, [documents, documents, documents]);
});

t.test('a body that makes no sense is refused, and says where', async t => {
  const { call } = await serve(t);
  const post = (body: string, type?: string) => call('POST', '/v1/documents', { body, ...(type && { type }) });
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  const wrong: readonly (readonly [Promise<Answer>, RegExp])[] = [
    [post('{"documents":['), /JSON/i],
    [post(''), /empty/i],
    [post('[]'), /^body: /],
    [post('{"documents":[]}'), /^body: documents: expected at least one document/],
    [post('{"documents":[{}],"dryRun":true}'), /^body: dryRun: unknown field/],
    [post('# nothing', 'application/yaml'), /^body: documents: expected at least one document/],
    [post('a: [1', 'application/yaml'), /^body: line 1, column \d+: /],
    [post('a: 1\na: 2', 'application/yaml'), /^body: line 2, column 1: a field that stands there already/],
    [post('a: !secret 1', 'application/yaml'), /^body: line 1, column 4: !secret means nothing here/],
    [post('['.repeat(200_000), 'application/yaml'), /^body: line 1, column \d+: nested deeper than 100 levels/],
  ];
  for (const [answer, message] of wrong) t.match(await answer, refused(400, 'INVALID_INPUT', message));
  t.match(await post(`{"documents":[${deep}]}`), { json: { error: { code: 'TOO_LARGE', message: /nested deeper/ } } });
  t.match(await post('<job/>', 'application/xml'), { status: 415, json: { error: { code: 'INVALID_INPUT' } } });
  t.match(await call('POST', '/v1/documents'), { json: { error: { code: 'INVALID_INPUT' } } });
  t.match(
    await call('POST', '/v1/join-tokens', { body: '{"uses":0}' }),
    refused(400, 'INVALID_INPUT', /^body: uses: /),
  );
});

t.test('a body that is too large is refused before it is read', async t => {
  let applied = 0;
  const { call } = await serve(t, {
    async apply() {
      applied++;
      return { results: [] };
    },
  });
  const large = `{"documents":["${'x'.repeat(apiBounds.bodyBytes)}"]}`;
  t.match(await call('POST', '/v1/documents', { body: large }), refused(413, 'TOO_LARGE', /too large/i));
  const yaml = { body: `a: ${'x'.repeat(1024 * 1024)}`, type: 'application/yaml' };
  t.match(await call('POST', '/v1/documents', yaml), refused(413, 'TOO_LARGE', /too large/i));
  t.equal(applied, 0);
});

t.test('each kind of error has its status, and a defect of ours does not speak', async t => {
  const errors: readonly (readonly [Error, number, string])[] = [
    [new MesoliteError('CONFLICT', 'it runs'), 409, 'CONFLICT'],
    [new MesoliteError('UNAVAILABLE', 'not now'), 503, 'UNAVAILABLE'],
    [new MesoliteError('TIMED_OUT', 'no answer'), 504, 'TIMED_OUT'],
    [new MesoliteError('QUEUE_FULL', 'too many'), 429, 'QUEUE_FULL'],
    [new TypeError('SELECT secret FROM tokens'), 500, 'INTERNAL'],
  ];
  for (const [error, status, code] of errors) {
    const { call, log } = await serve(t, { nodes: async () => Promise.reject(error) });
    const answer = await call('GET', '/v1/nodes');
    t.match(answer, { status, json: { error: { code } } });
    t.notMatch(answer.text, /secret/);
    t.match(
      log.entries,
      status === 500 ? [{ sentence: 'an API call failed', fields: { method: 'GET', path: '/v1/nodes' } }] : [],
    );
  }
});

t.test('a caller who leaves takes the question for a log away', async t => {
  let gone: () => void = () => {};
  const left = new Promise<void>(resolve => {
    gone = resolve;
  });
  let asked: () => void = () => {};
  const isAsked = new Promise<void>(resolve => {
    asked = resolve;
  });
  const { api } = await serve(t, {
    taskLog: (_, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          gone();
          reject(new MesoliteError('UNAVAILABLE', 'nobody waits'));
        });
        asked();
      }),
  });
  const address = api.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const headers = { authorization: 'Bearer token-of-reader' };
  const call = request({
    host: '127.0.0.1',
    port,
    path: '/v1/tasks/t/log',
    headers,
    ca: authority.rootPem,
    agent: false,
  });
  call.on('error', () => {});
  call.end();
  await isAsked;
  call.destroy();
  await left;
});

t.test('one address does not take all connections, and gives back those that it leaves', async t => {
  const { port } = await serve(t);
  const open = async () => {
    const socket = connect({ host: '127.0.0.1', port, ca: authority.rootPem, checkServerIdentity: () => undefined });
    t.teardown(() => socket.destroy());
    socket.on('error', () => {});
    await once(socket, 'secureConnect');
    return socket;
  };
  const held = await Promise.all(Array.from({ length: apiBounds.connectionsOfAddress }, open));
  const [first, over] = [held[0], await open()];
  await once(over.resume(), 'close');
  first?.destroy();
  if (first !== undefined) await once(first, 'close');
  const asks = async () => {
    const socket = await open();
    socket.write('GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n');
    return Promise.race([once(socket, 'data'), once(socket, 'close').then(() => undefined)]);
  };
  let answer = await asks();
  // the server may hear later that it was left
  while (answer === undefined) answer = await asks();
  t.match(String(answer[0]), /^HTTP\/1.1 200/);
});

t.test('metrics come as Prometheus reads them', async t => {
  const { call } = await serve(t);
  t.match(await call('GET', '/metrics'), { status: 200, type: /^text\/plain; version=0\.0\.4/, text: 'up 1\n' });
});

t.test('the OpenAPI document has every route, with schemas that hold together', async t => {
  const { call, api } = await serve(t);
  const { json } = await call('GET', '/openapi.json', { authorization: '' });
  const documented = Object.entries<Record<string, unknown>>(json.paths)
    .flatMap(([path, methods]) => Object.keys(methods).map(method => `${method.toUpperCase()} ${path}`))
    .sort();
  const served = routesOf(api.printRoutes({ commonPrefix: false })).filter(route => !route.endsWith('/openapi.json'));
  t.ok(served.length > 20, served.join(', '));
  t.same(documented, served.sort());
  for (const [path, methods] of Object.entries<Record<string, { summary?: string }>>(json.paths)) {
    for (const [method, { summary }] of Object.entries(methods)) t.ok(summary, `${method} ${path} says what it does`);
  }
  const problems = [...findProblems(json.paths, '')];
  t.same(problems, []);
});

/** `GET /v1/tasks/{id}` for each line of fastify's tree of routes. */
function routesOf(tree: string): string[] {
  const trail: string[] = [];
  return tree.split('\n').flatMap(line => {
    const [, indent = '', part = '', methods] = /^([│ ├└─]*)(\S*?)(?: \(([A-Z, ]+)\))?$/.exec(line) ?? [];
    if (part === '') return [];
    trail.splice(indent.length / 4 - 1);
    trail[indent.length / 4 - 1] = part;
    const path = trail.join('').replace(/:(\w+)/g, '{$1}');
    return (methods ?? '')
      .split(', ')
      .filter(method => method !== '' && method !== 'HEAD')
      .map(method => `${method} ${path}`);
  });
}

const jsonTypes = new Set(['object', 'array', 'string', 'number', 'integer', 'boolean', 'null']);

/** What no reader of JSON Schema would take. */
function* findProblems(value: unknown, path: string): Generator<string> {
  if (typeof value !== 'object' || value === null) return;
  const { type, required, properties, items, $ref } = value as Record<string, unknown>;
  if (typeof type === 'string' && !jsonTypes.has(type) && !path.endsWith('/properties')) yield `${path}: type ${type}`;
  if (Array.isArray(required) && typeof properties === 'object' && properties !== null) {
    for (const name of required)
      if (!Object.hasOwn(properties, String(name))) yield `${path}: ${name} is required and not there`;
  }
  if (type === 'array' && items === undefined) yield `${path}: an array of what?`;
  if (typeof $ref === 'string') yield `${path}: ${$ref} leads nowhere`;
  for (const [name, child] of Object.entries(value)) yield* findProblems(child, `${path}/${name}`);
}

t.test('rollouts are told to everybody who may read, and steered by admins', async t => {
  const steered: string[][] = [];
  const { call } = await serve(t, {
    rollouts: async () => [rolloutView()],
    async commandRollout(...command) {
      steered.push(command);
      return rolloutView({ phase: 'paused', reason: 'paused by admin' });
    },
  });
  const token = 'token-of-reader';
  t.match(await call('GET', '/v1/rollouts', { token }), { status: 200, json: { rollouts: [{ name: 'policy-2' }] } });
  for (const command of ['pause', 'resume', 'abort']) {
    const path = `/v1/rollouts/policy-2/${command}`;
    t.match(await call('POST', path, { token, body: '{}' }), refused(403, 'FORBIDDEN', 'reader may read, not change'));
    t.match(await call('POST', path, { authorization: '', body: '{}' }), { status: 401 });
  }
  t.same(steered, []);
  t.match(await call('POST', '/v1/rollouts/policy-2/pause', { body: '{}' }), {
    status: 200,
    json: { phase: 'paused' },
  });
  t.same(steered, [['policy-2', 'pause', 'admin']], 'in the name of who asked');
  t.equal((await call('POST', '/v1/rollouts/policy-2/delete', { body: '{}' })).status, 400);
  t.equal((await call('POST', `/v1/rollouts/${'x'.repeat(65)}/pause`, { body: '{}' })).status, 400);
  t.equal(steered.length, 1);
});

t.test(
  'what is followed is a line of JSON a piece; what fails before the first is an answer, after it the last line',
  async t => {
    const { call } = await serve(t, {
      async followLog({ task, tailLines, since }, onFrame) {
        if (task === 'none') throw new MesoliteError('NOT_FOUND', 'it is not there');
        onFrame({ stream: 'stdout', data: `${tailLines} ${since}\n` });
        onFrame({ stream: 'stdout', data: 'more', skipped: 3 });
        if (task === 'breaks') throw new MesoliteError('UNAVAILABLE', 'the node is gone');
      },
    });
    const path = (task: string) => `/v1/tasks/${task}/log?follow=true&tailLines=2&since=7`;
    const good = await call('GET', path('t'), { token: 'token-of-reader' });
    t.equal(good.status, 200);
    t.equal(good.text, '{"stream":"stdout","data":"2 7\\n"}\n{"stream":"stdout","data":"more","skipped":3}\n');
    t.match(await call('GET', path('none'), { token: 'token-of-reader' }), { status: 404 });
    const broken = await call('GET', path('breaks'), { token: 'token-of-reader' });
    t.match(JSON.parse(broken.text.trim().split('\n').at(-1) ?? ''), { error: { code: 'UNAVAILABLE' } });
  },
);

t.test('a command is an admin’s, and said with who wants it', async t => {
  const asked: unknown[] = [];
  const { call } = await serve(t, {
    async exec(request, onFrame) {
      asked.push(request);
      await onFrame({ stream: 'stdout', data: 'hello\n' });
      await onFrame({ stream: 'stdout', data: '', exit: 3 });
    },
  });
  const body = JSON.stringify({ command: ['ls', '-l'] });
  t.equal((await call('POST', '/v1/tasks/t/exec', { token: 'token-of-reader', body })).status, 403);
  t.same(asked, []);
  const { status, text } = await call('POST', '/v1/tasks/t/exec', { token: 'token-of-admin', body });
  t.equal(status, 200);
  t.match(JSON.parse(text.trim().split('\n').at(-1) ?? ''), { exit: 3 });
  t.match(asked, [{ task: 't', by: 'admin', command: ['ls', '-l'], timeoutMs: 600_000 }]);
  for (const wrong of [
    {},
    { command: [] },
    { command: ['ls'], timeoutMs: 4_000_000 },
    { command: ['ls'], as: 'root' },
  ]) {
    t.equal(
      (await call('POST', '/v1/tasks/t/exec', { token: 'token-of-admin', body: JSON.stringify(wrong) })).status,
      400,
    );
  }
});
