import t from 'tap';
import { environmentOf } from '../../src/agent/task-environment.ts';
import { taskSpec } from '../fixtures/task-spec.ts';

const here = {
  node: 'pi-1',
  path: '/usr/bin:/bin',
  outboundPort: 15_001,
  secretOf: (task: string) => `secret-of-${task}`,
  home: '/data/tasks/web/sandbox',
};

t.test('a task finds its ports, its proxy and who it is in its environment, and nothing of the agent’s', async t => {
  const spec = taskSpec({
    id: 'web.default.0-a',
    job: 'web',
    env: { GREETING: 'hello' },
    ports: [
      { name: 'http', protocol: 'http', number: 20_001 },
      { name: 'admin-api', protocol: 'tcp', number: 20_002 },
    ],
    localPorts: [{ service: 'mail-out.other', port: 5432 }],
  });
  const proxy = 'http://web.default.0-a:secret-of-web.default.0-a@127.0.0.1:15001';
  t.strictSame(environmentOf(spec, here), {
    PATH: '/usr/bin:/bin',
    HOME: '/data/tasks/web/sandbox',
    LANG: 'C.UTF-8',
    GREETING: 'hello',
    PORT: '20001',
    PORT_HTTP: '20001',
    PORT_ADMIN_API: '20002',
    UPSTREAM_MAIL_OUT_OTHER_PORT: '5432',
    UPSTREAM_MAIL_OUT_OTHER_ADDR: '127.0.0.1:5432',
    HTTP_PROXY: proxy,
    http_proxy: proxy,
    NO_PROXY: '127.0.0.1,localhost',
    no_proxy: '127.0.0.1,localhost',
    MESOLITE_NODE: 'pi-1',
    MESOLITE_TASK: 'web.default.0-a',
    MESOLITE_JOB: 'web',
    MESOLITE_NAMESPACE: 'default',
    MESOLITE_PROGRESS: '/data/tasks/web/sandbox/.progress',
  });
});

t.test('a job may set its own path and home, but not who its task is nor by which proxy it calls', async t => {
  const forged = {
    PATH: '/opt/bin',
    HOME: '/home/me',
    LANG: 'C',
    HTTP_PROXY: 'http://other',
    no_proxy: '*',
    MESOLITE_TASK: 'another',
    PORT: '1',
  };
  const ports = [{ name: 'http', protocol: 'http', number: 20_001 } as const];
  const environment = environmentOf(taskSpec({ env: forged, ports }), here);
  t.match(environment, { PATH: '/opt/bin', HOME: '/home/me', LANG: 'C' });
  t.match(environment, { PORT: '20001', MESOLITE_TASK: 'hello.default.a1', no_proxy: '127.0.0.1,localhost' });
  t.match(environment.HTTP_PROXY, /@127\.0\.0\.1:15001$/);
});

t.test('a task without ports has no PORT but what its job gives it', async t => {
  t.notOk('PORT' in environmentOf(taskSpec(), here));
  t.equal(environmentOf(taskSpec({ env: { PORT: '8080' } }), here).PORT, '8080');
});
