import t from 'tap';
import { decodeDocument, type PolicyOf } from '../../src/model/document.ts';
import { checkPeerAuthentication, compilePeerAuthentication } from '../../src/policy/peer-authentication.ts';

const root = 'istio-system';
let named = 0;

function policy(namespace: string, spec: object): PolicyOf<'PeerAuthentication'> {
  const metadata = { name: `p${named++}`, namespace };
  const document = decodeDocument(
    { apiVersion: 'security.istio.io/v1', kind: 'PeerAuthentication', metadata, spec },
    'f',
  );
  if (document.kind !== 'PeerAuthentication') throw new Error('another kind');
  return document;
}

const mode = (mode: string) => ({ mtls: { mode } });
const forWeb = { selector: { matchLabels: { app: 'web' } } };
const web = { namespace: 'shop', labels: { app: 'web' } };

function modeOf(...policies: PolicyOf<'PeerAuthentication'>[]) {
  const compiled = compilePeerAuthentication(policies, root);
  return (workload = web, port = 80) => compiled.modeOf(workload, port);
}

t.test('PERMISSIVE holds where nothing is said', async t => {
  t.equal(modeOf()(), 'PERMISSIVE');
  t.equal(modeOf(policy('shop', {}), policy(root, mode('UNSET')))(), 'PERMISSIVE');
  t.equal(modeOf(policy('other', mode('STRICT')))(), 'PERMISSIVE');
});

t.test('a workload goes before its namespace, that before the mesh, and UNSET inherits', async t => {
  const mesh = policy(root, mode('STRICT'));
  t.equal(modeOf(mesh)(), 'STRICT');
  t.equal(modeOf(mesh, policy('shop', mode('DISABLE')))(), 'DISABLE');
  t.equal(
    modeOf(mesh, policy('shop', mode('DISABLE')), policy('shop', { ...forWeb, ...mode('PERMISSIVE') }))(),
    'PERMISSIVE',
  );
  t.equal(modeOf(mesh, policy('shop', mode('DISABLE')), policy('shop', forWeb))(), 'DISABLE');
  t.equal(modeOf(mesh, policy('shop', { ...forWeb, ...mode('DISABLE') }))({ ...web, labels: { app: 'db' } }), 'STRICT');
});

t.test('a port goes before its workload', async t => {
  const ports = { portLevelMtls: { 8080: { mode: 'DISABLE' }, 9090: { mode: 'UNSET' }, 7070: {} } };
  const of = modeOf(policy(root, mode('PERMISSIVE')), policy('shop', { ...forWeb, ...mode('STRICT'), ...ports }));
  t.equal(of(web, 8080), 'DISABLE');
  t.equal(of(web, 9090), 'STRICT');
  t.equal(of(web, 7070), 'STRICT');
  t.equal(of(web, 80), 'STRICT');
});

t.test('of two on one level the stricter holds, in whatever order they come', async t => {
  const two = [policy('shop', mode('DISABLE')), policy('shop', mode('STRICT'))];
  t.equal(modeOf(...two)(), 'STRICT');
  t.equal(modeOf(...two.reverse())(), 'STRICT');
});

t.test('what makes no sense is refused', async t => {
  const cases: readonly (readonly [object, RegExp])[] = [
    [mode('ALWAYS'), /spec\.mtls\.mode: /],
    [{ portLevelMtls: { 80: { mode: 'STRICT' } } }, /spec: portLevelMtls: needs a selector with labels/],
    [{ ...forWeb, portLevelMtls: {} }, /spec: portLevelMtls: expected at least one port/],
    [
      { ...forWeb, portLevelMtls: { http: {} } },
      /spec\.portLevelMtls\.http: expected a port of 1 to 65535, got "http"/,
    ],
    [{ ...forWeb, portLevelMtls: { 65536: {} } }, /expected a port of 1 to 65535/],
    [{ ...forWeb, mode: 'STRICT' }, /spec\.mode: unknown field/],
  ];
  for (const [spec, expected] of cases) t.throws(() => policy('shop', spec), { message: expected });
  const facts = { rootNamespace: root, publishes: new Set([8080]) };
  t.match(checkPeerAuthentication(policy(root, { ...forWeb, ...mode('STRICT') }), facts).errors, [/root namespace/]);
  const warned = checkPeerAuthentication(policy('shop', { ...forWeb, portLevelMtls: { 8080: {}, 8081: {} } }), facts);
  t.same(warned, { errors: [], warnings: ['spec.portLevelMtls.8081: no job that it selects publishes this port'] });
});
