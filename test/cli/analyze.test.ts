import t from 'tap';
import { run } from '../fixtures/cli-run.ts';

const policy = (spec: object) =>
  JSON.stringify({ apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy', metadata: { name: 'p' }, spec });
const analyze = (stdin: string, ...more: string[]) => run(['analyze', '--offline', '-f', '-', ...more], { stdin });

t.test('each trap is told with its code, its place and what to do', async t => {
  const { code, out } = await analyze(policy({}));
  t.equal(code, 0);
  t.match(
    out,
    /^ALLOW_WITHOUT_RULES AuthorizationPolicy default\/p: spec\.rules\n {4}there are none: .*\n {4}fix: .*\n$/,
  );
  t.match(JSON.parse((await analyze(policy({}), '-o', 'json')).out), { warnings: [{ code: 'ALLOW_WITHOUT_RULES' }] });
});

t.test('it fails where it is asked to, and where there is no answer', async t => {
  t.equal((await analyze(policy({}), '--strict')).code, 1);
  const sound = policy({ rules: [{ from: [{ source: { principals: ['*'] } }] }] });
  t.match(await analyze(sound, '--strict'), { code: 0, out: '', err: 'no warnings\n' });
  t.match(await analyze(policy({ rules: 1 })), { code: 2, out: '' });
});
