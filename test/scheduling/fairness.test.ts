import t from 'tap';
import { seededRandom } from '../../src/base/random.ts';
import { decodeDocument, type RoleDocument } from '../../src/model/document.ts';
import { printScalar } from '../../src/model/resources.ts';
import { allocate, type Claimant } from '../../src/scheduling/allocator.ts';
import { analyzeRoles } from '../../src/scheduling/analyze.ts';
import { makeFairShares, type RolePolicies, type RolePolicy } from '../../src/scheduling/fairness.ts';
import { applyEvents } from '../../src/scheduling/ledger.ts';
import { planRound } from '../../src/scheduling/plan.ts';
import { makeScheduler } from '../../src/scheduling/scheduler.ts';
import { amounts, aNode, aRound, aTask, ledgerOf } from './fixtures.ts';

const policy = (more: Partial<RolePolicy> = {}): RolePolicy => ({ weight: 1, guarantees: {}, limits: {}, ...more });
const sharesOver = (total: Record<string, number>, policies: RolePolicies = new Map()) =>
  makeFairShares({ policies, held: new Map(), total, free: total, print: printScalar });

/** Gives one piece at a time to whoever is first, as long as there is enough; how often each role was served. */
function fill(
  total: Record<string, number>,
  needs: Readonly<Record<string, Record<string, number>>>,
  policies?: RolePolicies,
): Record<string, number> {
  const shares = sharesOver(total, policies);
  const left = { ...total };
  const served: Record<string, number> = {};
  let roles = Object.keys(needs);
  while (roles.length > 0) {
    const role = shares.first(roles.map(role => ({ role, name: '' })))?.role ?? '';
    const need = needs[role] ?? {};
    if (Object.entries(need).some(([name, amount]) => amount > (left[name] ?? 0))) {
      roles = roles.filter(each => each !== role);
      continue;
    }
    for (const [name, amount] of Object.entries(need)) left[name] = (left[name] ?? 0) - amount;
    shares.grant(role, need);
    served[role] = (served[role] ?? 0) + 1;
  }
  return served;
}

t.test('of 9 CPU and 18 GB, <1 CPU, 4 GB> is served three times and <3 CPU, 1 GB> twice, as in the paper', async t => {
  const total = { cpus: 9, mem: 18 };
  const needs = { a: { cpus: 1, mem: 4 }, b: { cpus: 3, mem: 1 } };
  t.same(fill(total, needs), { a: 3, b: 2 });
  const shares = sharesOver(total);
  for (let i = 0; i < 3; i++) shares.grant('a', needs.a);
  for (let i = 0; i < 2; i++) shares.grant('b', needs.b);
  t.same([shares.shareOf('a'), shares.shareOf('b')], [2 / 3, 2 / 3], 'both dominant shares are 2/3');
});

t.test('a role of twice the weight gets twice as much', async t => {
  const policies = new Map([['a', policy({ weight: 2 })]]);
  t.same(fill({ cpus: 9 }, { a: { cpus: 1 }, b: { cpus: 1 } }, policies), { a: 6, b: 3 });
});

t.test(
  'roles are a tree: siblings share what their parent gets, and a parent competes with them for its own',
  async t => {
    const one = { cpus: 1 };
    t.same(fill({ cpus: 12 }, { 'eng/ci': one, 'eng/dev': one, ops: one }), { 'eng/ci': 3, 'eng/dev': 3, ops: 6 });
    t.same(fill({ cpus: 12 }, { eng: one, 'eng/ci': one, ops: one }), { eng: 3, 'eng/ci': 3, ops: 6 });
    const heavier = new Map([['eng/ci', policy({ weight: 2 })]]);
    t.same(fill({ cpus: 12 }, { 'eng/ci': one, 'eng/dev': one, ops: one }, heavier), {
      'eng/ci': 4,
      'eng/dev': 2,
      ops: 6,
    });
  },
);

t.test('what no fleet has makes nobody rich, and equals go by pieces held and then by name', async t => {
  const shares = sharesOver({ cpus: 10 });
  shares.grant('a', { npu: 5 });
  t.equal(shares.shareOf('a'), 0);
  t.equal(shares.first(['a', 'b'].map(role => ({ role, name: '' })))?.role, 'b', 'a holds a piece');
  t.equal(shares.first(['d', 'c'].map(role => ({ role, name: '' })))?.role, 'c');
});

const nodes = [aNode('n1'), aNode('n2')];
const ledger = ledgerOf({ n1: amounts(4, 4096), n2: amounts(4, 4096) });
const ofRole = (role: string, count: number) =>
  Array.from({ length: count }, (_, order) => aTask(`${role}-${order}`, { role, order }));
function placedOf(policies: RolePolicies, pending = [...ofRole('a', 8), ...ofRole('b', 8)]) {
  const plan = planRound(aRound(nodes, pending, { ledger, policies }), makeScheduler());
  const count = (role: string) => plan.launches.filter(({ task }) => task.startsWith(role)).length;
  return { a: count('a'), b: count('b'), plan };
}

t.test('a round serves the role that holds least, whatever the priorities of others', async t => {
  t.match(placedOf(new Map()), { a: 4, b: 4 });
  const urgent = ofRole('b', 8).map(task => ({ ...task, priority: 100 }));
  t.match(placedOf(new Map(), [...ofRole('a', 8), ...urgent]), { a: 4, b: 4 });
  t.match(placedOf(new Map([['a', policy({ weight: 3 })]])), { a: 6, b: 2 });
});

t.test('a quota limits what a role holds, and the task says so', async t => {
  const { a, b, plan } = placedOf(new Map([['a', policy({ limits: { cpus: 2000 } })]]));
  t.same([a, b], [2, 6]);
  t.equal(plan.waiting.find(({ task }) => task.startsWith('a'))?.why, 'role a may hold 2 cpus and holds 2 cpus');
});

t.test('what is guaranteed is kept free for its role', async t => {
  const policies = new Map([['b', policy({ guarantees: { cpus: 3000 } })]]);
  const { a, plan } = placedOf(policies, ofRole('a', 8));
  t.equal(a, 5, 'three cores are left');
  t.match(plan.waiting[0]?.why, '3 cpus of what is free are guaranteed to b');
  t.match(placedOf(policies, [...ofRole('a', 8), ...ofRole('b/c', 8)]), { a: 4, b: 4 }, 'those below it use it');
  const nested = new Map([...policies, ['b/c', policy({ guarantees: { cpus: 2000 } })]]);
  t.match(placedOf(nested, ofRole('a', 8)), { a: 5 }, 'what is promised below is part of what is promised above');
});

t.test('a task that would fit nowhere says so, whatever its role is denied, and else node by node', async t => {
  const policies = new Map([['b', policy({ guarantees: { cpus: 9000 } })]]);
  const huge = aTask('huge', { role: 'a', needs: { scalars: { cpus: 5000 }, sets: {} } });
  const { waiting } = placedOf(policies, [aTask('small', { role: 'a' }), huge]).plan;
  const [first, second] = ['small', 'huge'].map(id => waiting.find(({ task }) => task === id));
  t.match(first, { why: /guaranteed to b$/, reasons: [{ node: 'n1', why: /guaranteed to b$/ }, { node: 'n2' }] });
  t.match(second, { why: 'fits on no node', reasons: [{ node: 'n1', why: 'needs 5 cpus, has 4 cpus in all' }] });
});

t.test('who promises more than there is, is told so', t => {
  const role = (name: string, cpus: number) =>
    decodeDocument(
      { apiVersion: 'mesolite/v1', kind: 'Role', metadata: { name }, spec: { quota: { guarantees: { cpus } } } },
      name,
    );
  const roles = [role('a', 3), role('b', 2)].filter((each): each is RoleDocument => each.kind === 'Role');
  const analyze = (cpus: number, only = ['Role default/a']) =>
    analyzeRoles({ roles, total: { cpus: cpus * 1000 }, only: new Set(only) });
  t.same(analyze(5), []);
  t.match(analyze(4), [
    {
      code: 'GUARANTEES_EXCEED_FLEET',
      document: 'Role default/a',
      path: 'spec.quota.guarantees.cpus',
      reason: /^roles are guaranteed 5 cpus together, the fleet has 4 cpus/,
    },
  ]);
  t.same(analyze(4, []), [], 'those that are not meant are not spoken of');
  t.same(analyzeRoles({ roles, total: {}, only: new Set(['Role default/a']) }), [], 'nor is a fleet without nodes');
  t.end();
});

const claimant = (name: string, role: string, wants: Claimant['wants'] = () => true) => ({ name, role, wants });
const grantsOf = (claimants: readonly Claimant[], more: object = {}) =>
  allocate({ ledger, nodes, claimants, policies: new Map(), dice: seededRandom(1), ...more }).map(
    ({ claimant, node, resources }) => [claimant.name, node.id, resources.scalars.cpus],
  );

t.test('the allocator gives each node whole to whoever has least and wants it', async t => {
  const [a, b] = [claimant('a', 'x'), claimant('b', 'y')];
  t.same(
    grantsOf([a, b])
      .map(([name]) => name)
      .sort(),
    ['a', 'b'],
    'one each',
  );
  t.same(
    grantsOf([claimant('a', 'x'), claimant('b', 'x')])
      .map(([name]) => name)
      .sort(),
    ['a', 'b'],
    'inside a role, too',
  );
  const picky = claimant('b', 'y', ({ id }) => id === 'n2');
  t.same(grantsOf([picky]), [['b', 'n2', 4000]]);
  const holding = applyEvents(ledger, [
    { type: 'TaskPlaced', task: 't', node: 'n1', role: 'y', resources: amounts(1, 64) },
    { type: 'OfferMade', offer: 'o', node: 'n1', role: 'y', resources: amounts(2, 64) },
  ]).ledger;
  const first = grantsOf([a, b], { ledger: holding })[0];
  t.equal(first?.[0], 'a', 'the one that holds nothing is first');
  t.same(
    grantsOf([b], { ledger: holding }).find(([, node]) => node === 'n1'),
    ['b', 'n1', 1000],
    'of a node only what is neither held nor offered',
  );
  t.same(grantsOf([a], { nodes: [aNode('n1', { unavailable: 'is drained' })] }), []);
});

t.test('no quota is broken by an offer', async t => {
  const policies = new Map([['x', policy({ limits: { cpus: 5000 } })]]);
  t.equal(grantsOf([claimant('a', 'x')], { policies }).length, 1);
  const kept = new Map([['z', policy({ guarantees: { cpus: 5000 } })]]);
  t.equal(grantsOf([claimant('a', 'x')], { policies: kept }).length, 0);
});
