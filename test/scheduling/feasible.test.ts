import t from 'tap';
import { noResources } from '../../src/model/resources.ts';
import { unmetConstraints, unmetNeeds } from '../../src/scheduling/feasible.ts';
import { amounts } from './fixtures.ts';

const attributes = { zone: 'b', arch: 'arm64' };

t.test('a node that meets every constraint has nothing against it', async t => {
  t.same(
    unmetConstraints(
      [
        { attribute: 'zone', operator: 'in', values: ['a', 'b'] },
        { attribute: 'arch', operator: 'notIn', values: ['x64'] },
        { attribute: 'gpu', operator: 'notIn', values: ['none'] },
        { attribute: 'arch', operator: 'exists', values: [] },
        { attribute: 'gpu', operator: 'doesNotExist', values: [] },
      ],
      attributes,
    ),
    [],
  );
});

t.test('each constraint that is not met is a sentence', async t => {
  t.same(
    unmetConstraints(
      [
        { attribute: 'zone', operator: 'in', values: ['a'] },
        { attribute: 'rack', operator: 'in', values: ['1', '2'] },
        { attribute: 'arch', operator: 'notIn', values: ['arm64', 'arm'] },
        { attribute: 'gpu', operator: 'exists', values: [] },
        { attribute: 'zone', operator: 'doesNotExist', values: [] },
        { attribute: 'toString', operator: 'exists', values: [] },
      ],
      attributes,
    ),
    [
      'label zone=a wanted, has zone=b',
      'label rack=1 or 2 wanted, has none',
      'label arch=arm64 not wanted',
      'label gpu wanted, has none',
      'label zone not wanted, has zone=b',
      'label toString wanted, has none',
    ],
  );
});

t.test('a shortage tells what will never fit from what does not fit now', async t => {
  const total = { ...amounts(4, 512, [{ begin: 1, end: 3 }]), sets: { gpio: ['17', '18'] } };
  const free = { ...amounts(4, 388, [{ begin: 3, end: 3 }]), sets: { gpio: ['18'] } };
  const whyNot = (cpus: number, mem: number, portCount = 0, gpio: string[] = []) =>
    unmetNeeds({ needs: { scalars: amounts(cpus, mem).scalars, sets: { gpio } }, portCount }, { total, free });
  t.same(whyNot(4, 388, 1, ['18']), []);
  t.same(whyNot(8, 512), ['needs 8 cpus, has 4 cpus in all', 'needs 512 MB mem, has 388 MB mem free']);
  t.same(whyNot(0, 0, 2), ['needs 2 ports, has 1 free']);
  t.same(whyNot(0, 0, 9), ['needs 9 ports, has 3 in all']);
  const numbered = (...ports: number[]) => ({ needs: { scalars: {}, sets: {} }, portCount: 0, nodePorts: ports });
  const has = (...ports: { begin: number; end: number }[]) => ({ ...noResources, ranges: { 'node-ports': ports } });
  const node = { total: has({ begin: 1024, end: 65_535 }), free: has({ begin: 5433, end: 65_535 }) };
  t.same(unmetNeeds(numbered(8080), node), []);
  t.same(unmetNeeds(numbered(80, 5432), node), ['needs port 80, which it does not offer', 'needs port 5432, not free']);
  t.same(whyNot(0, 0, 0, ['17', '99']), ['needs gpio 17, not free', 'needs gpio 99, has none']);
});
