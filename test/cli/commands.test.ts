import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { aheadOf, auditEntry, jobView, nodeView, policyView, taskView } from '../fixtures/api-views.ts';
import { cliNow } from '../fixtures/cli-run.ts';
import { makeUser } from '../fixtures/cli-user.ts';

t.test('nodes are a table with their resources as a person reads them', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.nodes = [nodeView(), nodeView({ node: 'long-name-of-a-node', state: 'unreachable' })];
  const { code, out, err } = await mesolite('get nodes');
  t.same([code, err], [0, '']);
  const [head = '', first = '', second = ''] = out.split('\n');
  t.match(head, /^NODE +STATE +PROFILE +FREE CPUS +FREE MEM +FREE DISK +FREE PORTS +CPU +TASKS +SEEN +AGE$/);
  t.match(first, /^pi-1 +ready +raspberry-pi-4 +0\.5\/4 +512\/3900 MB +19000\/20000 MB +98 +42% +2 +4s ago +5h$/);
  t.equal(first.indexOf('ready'), second.indexOf('unreachable'), 'columns stand under each other');
  for (const sign of ['\u001b', '│', '─']) t.notOk(out.includes(sign), 'no colours, no lines');

  const disk = { byPurpose: { audit: 1_000_000, state: 200_000 }, budgetBytes: 20_000_000, lifePerYear: 0.00055 };
  server.world.nodes = [nodeView({ spent: { disk } })];
  const wide = await mesolite('get nodes -o wide');
  t.match(wide.out, /1\.2 MB\/day, 0\.06% of its life a year/);
  t.match(wide.out, /10\.0\.0\.7:15000 +arm64 +Debian 13 +700 MB +51 MB +48\.25 °C +3 +1\.2\.3 +zone=a/);
});

t.test('an answer is the same for programs, as JSON and as YAML', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.nodes = [nodeView(), nodeView({ node: 'pi-2' })];
  const expected = { nodes: server.world.nodes };
  t.same(JSON.parse((await mesolite('get nodes -o json')).out), expected);
  t.same(parse((await mesolite('get nodes -o yaml')).out), expected);
  t.same(JSON.parse((await mesolite('get node pi-2 --output json')).out), { nodes: [nodeView({ node: 'pi-2' })] });
});

t.test('nothing to list is said beside the output, not in it', async t => {
  const { mesolite } = await makeUser(t);
  t.same(await mesolite('get services'), { code: 0, out: '', err: 'no services\n' });
  t.match(await mesolite('get service hello'), { code: 1, err: 'mesolite: there is no service hello\n' });
});

t.test('jobs, services and policies are filtered by namespace', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.jobs = [jobView({ progress: 50 }), jobView({ name: 'other', namespace: 'edge' })];
  server.world.policies = [policyView(), policyView({ name: 'else', namespace: 'edge' })];
  const endpoint = { task: 't', node: 'pi-1', address: '10.0.0.7', port: 15_000, serverName: 's', weight: 1 };
  const service = { name: 'web', namespace: 'edge', protocol: 'http', spiffeId: 'spiffe://x/ns/edge/sa/web' };
  server.world.services = [{ ...service, endpoints: [endpoint] }];
  t.match((await mesolite('get jobs')).out, /hello +default +batch +8 +2 +1 +0 +4 +1 +10m +50% +in 90s +-\nother/);
  t.notMatch((await mesolite('get jobs -n edge')).out, /hello/);
  t.match((await mesolite('get policies -n default')).out, /deny-client .* DENY +1\/2 nodes +- +pi-2: an older agent/);
  t.notMatch((await mesolite('get policies -n default')).out, /else/);
  t.match((await mesolite('get services')).out, /web +edge +web\.edge\.mesh +http +pi-1 \(10\.0\.0\.7:15000\)/);
  t.match(await mesolite('get services -n default'), { out: '', err: 'no services\n' });
});

t.test('what a policy that decides nothing would have done is told', async t => {
  const { server, mesolite } = await makeUser(t);
  const counts = { calls: 12_480, allowed: 0, denied: 3, audited: 7 };
  const told = async (action: string, shadow = counts, kind = 'AuthorizationPolicy') => {
    server.world.policies = [policyView({ kind, action, shadow, refusals: [] })];
    return (await mesolite('get policies')).out;
  };
  t.match(await told('DENY (dry run)'), /WOULD +PROBLEM\n.* deny 3 of 12,480 +-\n/);
  t.match(await told('ALLOW (dry run)', { ...counts, allowed: 9 }), / allow 9, deny 3 of 12,480 /);
  t.match(await told('AUDIT'), / audit 7 of 12,480 /);
  t.match(await told('limits each task (shadow)', counts, 'RateLimit'), / limit 3 of 12,480 /);
});

t.test('tasks show state, exit and why, and the filter goes to the master', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.tasks = [
    taskView('hello.default.a', {
      reason: 'REASON_TASK_HEALTH_CHECK_STATUS_UPDATED',
      message: 'healthy',
      progress: { percent: 40.2, message: 'resizing', at: 0 },
    }),
    taskView('hello.default.b', { state: 'TASK_FAILED', ready: false, exitCode: 3, message: 'exited with 3' }),
    taskView('hello.default.c', {
      type: 'batch',
      state: 'TASK_STAGING',
      node: null,
      startedAt: null,
      waiting: [{ node: 'pi-3', why: 'needs 512 MB mem, has 388 MB mem free' }],
    }),
  ];
  const { out } = await mesolite('get tasks -n default --job hello');
  t.match(out, /hello\.default\.a +TASK_RUNNING +yes +pi-1 +- +0 +3m +40% +10m +resizing/);
  t.match(out, /hello\.default\.b +TASK_FAILED +no +pi-1 +3 +0 +3m +- +10m +exited with 3/);
  t.match(out, /hello\.default\.c +TASK_STAGING +- +- +- +0 +- +- +10m +pi-3: needs 512 MB mem, has 388 MB mem free/);
  t.equal(server.calls.at(-1)?.what, 'GET /v1/tasks?namespace=default&job=hello');
});

t.test('one task is shown with its history', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.tasks = [taskView('hello.default.a')];
  server.world.history = [
    { uuid: 'u1', task: 'hello.default.a', state: 'TASK_STARTING', at: 0 },
    {
      uuid: 'u2',
      task: 'hello.default.a',
      state: 'TASK_FAILED',
      at: 1_000,
      exitCode: 7,
      ranMs: 950,
      message: 'oh',
      progress: { percent: 63 },
    },
  ];
  const { out } = await mesolite('get task hello.default.a');
  t.match(out, /\n\nTIME \(UTC\) +STATE/);
  t.match(out, /1970-01-01 00:00:01 +TASK_FAILED +- +7 +950ms +63% +oh\n/);
});

t.test('a task is named by its id, the beginning of one, or its job', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.log = 'a line\nand another\n';
  server.world.tasks = [
    taskView('hello.default.a1'),
    taskView('hello.default.a2'),
    taskView('client.default.c', { job: 'client' }),
    taskView('client.default.b', { job: 'client', state: 'TASK_KILLED' }),
    taskView('client-two.default.d', { job: 'client-two' }),
    taskView('batch.default.1', { job: 'batch' }),
    taskView('batch.default.10', { job: 'batch' }),
  ];
  for (const name of ['client.default.c', 'client', 'default/client', 'client.']) {
    t.match(await mesolite(`logs ${name}`), { code: 0, out: 'a line\nand another\n', err: '' });
    t.equal(server.calls.at(-1)?.what, 'GET /v1/tasks/client.default.c/log?stream=stdout&tailBytes=65536');
  }
  await mesolite('logs client --stderr --tail-bytes 10');
  t.equal(server.calls.at(-1)?.what, 'GET /v1/tasks/client.default.c/log?stream=stderr&tailBytes=10');
  t.match(await mesolite('logs batch.default.1'), { code: 0 }, 'an id is not the beginning of another one');
  const many = await mesolite('logs hello');
  t.equal(many.code, 1);
  t.match(many.err, /^mesolite: hello may be one of 2 tasks:\n {2}hello\.default\.a1 \(TASK_RUNNING\)\n {2}hello/);
  t.match(await mesolite('logs nothing'), { code: 1, err: 'mesolite: there is no task or job nothing\n' });
});

t.test('a log is followed: what is left out is said beside it, and how it ended', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.tasks = [taskView('client.default.c', { job: 'client' })];
  server.world.frames = [{ data: 'one\n' }, {}, { data: 'two\n', skipped: 5 }];
  t.match(await mesolite('logs -f client --since 1m --tail 3'), {
    code: 0,
    out: 'one\ntwo\n',
    err: 'mesolite: 5 bytes were left out: it writes faster than is passed on\n',
  });
  const since = Date.UTC(2030, 0, 1, 11, 59);
  t.equal(
    server.calls.at(-1)?.what,
    `GET /v1/tasks/client.default.c/log?stream=stdout&tailBytes=65536&tailLines=3&since=${since}&follow=true`,
  );
  server.world.frames.push({ error: { code: 'UNAVAILABLE', message: 'node pi-1 is gone' } });
  t.match(await mesolite('logs -f client'), { code: 3, err: /node pi-1 is gone\n$/ });
});

t.test('a command next to a task: its output, its exit code, and what it is given', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.tasks = [taskView('client.default.c', { job: 'client' })];
  server.world.frames = [{ stream: 'stdout', data: 'out\n' }, { stream: 'stderr', data: 'err\n' }, { exit: 42 }];
  t.match(await mesolite('exec client -- ls -l /tmp'), { code: 42, out: 'out\n', err: 'err\n' });
  t.match(server.calls.at(-1), {
    what: 'POST /v1/tasks/client.default.c/exec',
    body: { command: ['ls', '-l', '/tmp'], timeoutMs: 600_000, stdin: undefined },
  });
  server.world.frames = [{ exit: 0 }];
  t.equal((await mesolite('exec -i --timeout 5s client -- cat', { stdin: 'given' })).code, 0);
  t.match(server.calls.at(-1)?.body, { command: ['cat'], timeoutMs: 5_000, stdin: 'given' });
  server.world.frames = [{ data: 'cut' }];
  t.match(await mesolite('exec client -- ls'), { code: 3, err: /not known how/ });
  t.equal((await mesolite('exec client')).code, 2);
});

t.test('a secret is put from a file or standard input, and never shown', async t => {
  const { dir, server, mesolite } = await makeUser(t);
  writeFileSync(join(dir, 'token.txt'), 'hidden');
  const said = 'secret shop/token changed (version 2)\n';
  t.match(await mesolite(`secret put token -n shop --from-file ${join(dir, 'token.txt')}`), { code: 0, out: said });
  const body = { value: Buffer.from('hidden').toString('base64') };
  t.match(server.calls.at(-1), { what: 'PUT /v1/secrets/shop/token', body });
  t.equal((await mesolite('secret put token -n shop --from-stdin', { stdin: 'hidden' })).out, said);
  t.match(server.calls.at(-1), { body });
  t.equal((await mesolite('secret put token')).code, 2);
  t.match(await mesolite(`secret put token --from-file ${dir}/none`), { code: 1, err: /cannot be read/ });
  t.match(await mesolite('secret put token --from-stdin', { stdin: 'x'.repeat(20_000) }), { code: 1, err: /16384/ });
  server.world.secrets = [{ namespace: 'shop', name: 'token', version: 2, updatedAt: 0, usedBy: ['web', 'db'] }];
  t.match((await mesolite('get secrets')).out, /token +shop +2 +\S+ +web, db/);
  t.equal((await mesolite('secret delete token -n shop')).out, 'secret shop/token deleted\n');
});

t.test('the audit is asked for and shown with who, what and which rule', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.entries = [auditEntry(2), auditEntry(1, { verdict: 'allow', status: 200, rule: '-', source: '-' })];
  const { out } = await mesolite('audit --since 1h --principal test/ns/default/sa/client --verdict deny --limit 5');
  t.match(
    out,
    /11:59:58 +pi-1 +deny +403 +test\/ns\/default\/sa\/client +\S+hello +GET hello\.default\.mesh\/ +default\/deny-client#0/,
  );
  t.match(out, /allow +200 +10\.0\.0\.8/, 'a caller without an identity is shown by its address');
  const since = Date.UTC(2030, 0, 1, 11);
  const asked = () => Object.fromEntries(new URLSearchParams(server.calls.at(-1)?.what.split('?')[1]));
  t.same(asked(), { limit: '5', since: `${since}`, principal: 'test/ns/default/sa/client', verdict: 'deny' });
  await mesolite('audit --since 2029-12-31 --until 1h --node pi-1 --workload shop/cart');
  const range = { since: `${Date.UTC(2029, 11, 31)}`, until: `${since}` };
  t.same(asked(), { limit: '100', ...range, node: 'pi-1', workload: 'shop/cart' });
  await mesolite('audit --workload web');
  t.match(asked(), { workload: 'default/web' });
});

t.test('events are asked for and shown newest last, with how much they want of one', async t => {
  const { server, mesolite } = await makeUser(t);
  const event = { id: 1, at: Date.UTC(2030, 0, 1, 11), kind: 'node-joined', severity: 'info', node: 'pi-1', count: 1 };
  server.world.events = [
    { ...event, message: 'joined' },
    { ...event, id: 2, kind: 'node-quarantined', severity: 'critical', message: 'two of it' },
    { ...event, id: 3, kind: 'join-refused', severity: 'warning', node: null, count: 12, message: 'no proof' },
  ];
  const { out } = await mesolite('get events --since 1h --node pi-1 --kind node-joined --limit 5');
  const [head = '', ...rows] = out.trimEnd().split('\n');
  t.match(head, /^TIME \(UTC\) +SEVERITY +KIND +NODE +COUNT +MESSAGE$/);
  t.match(rows[0], /^2030-01-01 11:00:00 +info +node-joined +pi-1 +1 +joined$/);
  t.match(rows[1], /critical +node-quarantined +pi-1 +1 +two of it$/);
  t.match(rows[2], /warning +join-refused +- +12 +no proof$/);
  const query = `since=${Date.UTC(2030, 0, 1, 11)}&node=pi-1&kind=node-joined&limit=5`;
  t.same(new URLSearchParams(server.calls.at(-1)?.what.split('?')[1]).size, 4);
  for (const part of query.split('&')) t.match(server.calls.at(-1)?.what, part);
  t.match(await mesolite('get events --kind nonsense'), { code: 2, err: /--kind: expected one of/ });
  t.same(JSON.parse((await mesolite('get events -o json')).out), { events: server.world.events });
});

t.test('what is missing in the audit shows among the records', async t => {
  const { server, mesolite } = await makeUser(t);
  const gap = {
    kind: 'gap',
    node: 'pi-2',
    number: 41,
    at: Date.UTC(2030, 0, 1),
    reason: 'records 7 to 41 are missing',
  };
  server.world.entries = [auditEntry(1), gap];
  const { out } = await mesolite('audit -o wide');
  t.match(out.split('\n')[2], /^2030-01-01 00:00:00\S* +pi-2 +gap +(- +){4}records 7 to 41 are missing +(- *){7}$/);
  t.same(JSON.parse((await mesolite('audit -o json')).out).entries[1], gap);
});

t.test('what others wrote cannot steer the terminal', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.entries = [auditEntry(1, { path: '/\u001b[2J\u202e\nx' })];
  const { out } = await mesolite('audit');
  t.notOk(out.includes('\u001b') || out.includes('\u202e'));
  t.match(out, /\/\\u001b\[2J\\u202e\\nx/);
});

t.test('a join token stands alone on standard output', async t => {
  const { server, mesolite } = await makeUser(t);
  const made = await mesolite('token create --uses 2 --ttl 30m --node pi-1 --label zone=a --label rack=2');
  t.equal(made.out, 'mesolite-join-string\n');
  t.match(made.err, /good for 2 nodes until 2030-01-01 00:30:00 UTC/);
  const labels = { zone: 'a', rack: '2' };
  t.same(server.calls.at(-1)?.body, { uses: 2, ttlMs: 1_800_000, node: 'pi-1', labels });
  t.match(JSON.parse((await mesolite('token create -o json')).out), { id: 'tok', join: 'mesolite-join-string' });
  t.same(server.calls.at(-1)?.body, { uses: 1, ttlMs: 3_600_000, labels: {} });
});

t.test('a token says for whom it is, and can be revoked', async t => {
  const { server, mesolite } = await makeUser(t);
  await mesolite('token create --profile raspberry-pi-5 --require zone=a --approve');
  const made = {
    uses: 1,
    ttlMs: 3_600_000,
    labels: {},
    profile: 'raspberry-pi-5',
    requires: { zone: 'a' },
    approve: true,
  };
  t.same(server.calls.at(-1)?.body, made);
  server.world.tokens = [
    {
      ...made,
      id: 'tok',
      state: 'valid',
      used: 0,
      node: 'pi-1',
      createdAt: cliNow - 600_000,
      expiresAt: cliNow + 90_000,
    },
  ];
  const { out } = await mesolite('get tokens');
  t.match(out, /^ID +STATE +USED +ONLY FOR +APPROVAL +LABELS +AGE +EXPIRES$/m);
  t.match(out, /^tok +valid +0\/1 +node pi-1, profile raspberry-pi-5, zone=a +yes +- +10m +in 90s$/m);
  t.match(await mesolite('token revoke tok'), { code: 0, out: 'token tok revoked\n' });
  t.match(await mesolite('token revoke other'), { code: 1 });
});

t.test('nodes that wait are shown, let in and kept out', async t => {
  const { server, mesolite } = await makeUser(t);
  const join = { state: 'pending', node: 'pi-1', token: 'tok', profile: null, labels: {}, reason: null };
  server.world.joins = [{ ...join, id: '3fa9c2d1', at: cliNow - 5_000, expiresAt: cliNow + 600_000 }];
  t.match((await mesolite('get joins')).out, /^3fa9c2d1 +pending +pi-1 +- +- +tok +5s +in 10m$/m);
  t.match(await mesolite('approve 3fa9c2d1'), { code: 0, out: /3fa9c2d1 approved/ });
  t.equal(server.calls.at(-1)?.what, 'POST /v1/joins/3fa9c2d1/approve');
  t.match(await mesolite('deny 3fa9c2d1 --reason unknown'), { code: 0, out: 'join 3fa9c2d1 denied\n' });
  t.same(server.calls.at(-1)?.body, { reason: 'unknown' });
  t.match(await mesolite('approve nothing'), { code: 1 });
});

t.test('the version of the master is told where it can be had', async t => {
  const { server, mesolite } = await makeUser(t);
  t.equal((await mesolite('version')).out, `mesolite 1.2.3\nmaster   9.9.9 at ${server.url}\n`);
  t.same(JSON.parse((await mesolite('version -o json')).out), {
    mesolite: '1.2.3',
    master: '9.9.9',
    server: server.url,
  });
  await server.close();
  const alone = await mesolite('version');
  t.match(alone, { code: 0, out: 'mesolite 1.2.3\n', err: /is it running\?/ });
});

t.test('a node that is ahead is taken over only where that is said twice', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.nodes = [nodeView({ node: 'pi-1', ahead: aheadOf(['web.default.0-a']) }), nodeView({ node: 'pi-2' })];
  t.match((await mesolite('get nodes')).out, /^pi-1 +ready, ahead /m);
  const said = /^tasks that are not known here, to be ended: 1 \(web\.default\.0-a\)\n.* lost: none\n/;
  t.match(await mesolite('takeover pi-1'), { code: 0, out: said, err: /nothing was changed.*--yes/ });
  t.equal(server.calls.at(-1)?.what, 'GET /v1/nodes');
  t.match(await mesolite('takeover pi-1 --yes'), { code: 0, out: /node pi-1 is taken over\n$/ });
  t.equal(server.calls.at(-1)?.what, 'POST /v1/nodes/pi-1/takeover');
  t.match(await mesolite('takeover pi-2 --yes'), { code: 1, err: /holds what this master gave it/ });
  t.match(await mesolite('takeover pi-3'), { code: 1, err: /there is no node pi-3/ });
});

t.test('a node is deleted by its name', async t => {
  const { server, mesolite } = await makeUser(t);
  t.match(await mesolite('delete node pi-1 --force'), {
    code: 0,
    out: /^node pi-1 deleted: its tasks start elsewhere/,
  });
  t.equal(server.calls.at(-1)?.what, 'DELETE /v1/nodes/pi-1?force=true');
  t.match(await mesolite('delete node Pi_1'), { code: 2, err: /the name of a node/ });
  t.match(await mesolite('delete node'), { code: 2 });
  t.match(await mesolite('delete job web --force'), { code: 2, err: /--force is for a node/ });
});

t.test('a node is drained and let in again', async t => {
  const { server, mesolite } = await makeUser(t);
  const err = 'tasks to leave it: 2, which end or move now; what keeps one: mesolite get events --node pi-1\n';
  t.match(await mesolite('drain pi-1'), { code: 0, out: 'node pi-1 takes no more tasks\n', err });
  t.match(await mesolite('drain pi-1 --force'), { code: 0 });
  t.match(server.calls.at(-1)?.body, { deadlineMs: 0 });
  t.match(await mesolite('drain pi-1 --force --deadline 5m'), { code: 2, err: /expected --deadline or --force/ });
  t.match(await mesolite('drain pi-1 --from 2h'), { code: 0, out: /^node pi-1 will be drained from .* UTC\n$/ });
  t.match(await mesolite('undrain pi-1'), { code: 0, out: 'node pi-1 takes tasks again\n' });
  const at = (from: number) => ({ from: cliNow + from, until: cliNow + 8_000_000, endTasksAt: null });
  server.world.nodes = [
    nodeView({ node: 'pi-1', drain: at(-1) }),
    nodeView({ node: 'pi-2', drain: at(-1), tasks: 0 }),
    nodeView({ node: 'pi-3', drain: at(7_200_000) }),
    nodeView({ node: 'pi-5', drain: at(-1), tasks: 2, systemTasks: 2 }),
    nodeView({ node: 'pi-4', drain: { from: 1, until: 2, endTasksAt: null } }),
  ];
  const { out } = await mesolite('get nodes');
  for (const row of [
    /^pi-1 +ready, draining /m,
    /^pi-2 +ready, drained /m,
    /^pi-3 +ready, drained in 2h /m,
    /^pi-5 +ready, drained /m,
    /^pi-4 +ready +raspberry/m,
  ])
    t.match(out, row);
});

t.test('roles are listed with what they hold and what they are promised', async t => {
  const { server, mesolite } = await makeUser(t);
  const none = { held: {}, guarantees: {}, limits: {}, waiting: 0 };
  const problem = 'roles are guaranteed 9 cpus together';
  server.world.roles = [
    {
      ...none,
      role: 'eng',
      weight: 2,
      share: 0.125,
      held: { cpus: 1000, mem: 512_000 },
      guarantees: { cpus: 9000 },
      problem,
    },
    { ...none, role: '*', weight: 1, share: 0, waiting: 3 },
  ];
  const { out } = await mesolite('get roles');
  t.match(out, /^eng +2 +13% +1 cpus, 512 MB mem +9 cpus +- +0 +roles are guaranteed 9 cpus together$/m);
  t.match(out, /^\* +1 +0% +- +- +- +3 +-$/m);
});

t.test('a task whose node is not heard says so', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.tasks = [taskView('hello.default.0-1', { note: 'as last heard: its node is unreachable' })];
  t.match((await mesolite('get tasks')).out, /yes +pi-1 .* as last heard: its node is unreachable$/m);
});

t.test('to analyze nothing is no success', async t => {
  const { mesolite } = await makeUser(t);
  t.match(await mesolite('analyze --offline'), { code: 2, err: /expected -f FILE with --offline/ });
});
