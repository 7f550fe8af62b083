import fc from 'fast-check';
import t from 'tap';
import type { Resources } from '../../src/model/resources.ts';
import { sameResources, sumOf } from '../../src/scheduling/amounts.ts';
import { checkLedger } from '../../src/scheduling/check-ledger.ts';
import {
  accountOf,
  allocatedOf,
  applyEvents,
  emptyLedger,
  freeOf,
  type Ledger,
  type LedgerEvent,
  nodeOf,
  offerOf,
} from '../../src/scheduling/ledger.ts';
import { draftOf, emptyMap, lookUp } from '../../src/scheduling/sharded-map.ts';
import { amounts, ledgerOf } from './fixtures.ts';

const tenPorts = [{ begin: 31000, end: 31009 }];
const placed = (task: string, node: string, resources: Resources): LedgerEvent => ({
  type: 'TaskPlaced',
  task,
  node,
  resources,
});

t.test('a placed task holds its part of the node until it ends', async t => {
  const before = ledgerOf({ a: amounts(4, 100, tenPorts) });
  const { ledger, refused } = applyEvents(before, [placed('t', 'a', amounts(1.5, 60, [{ begin: 31000, end: 31001 }]))]);
  t.same(refused, []);
  t.same(freeOf(ledger, 'a'), amounts(2.5, 40, [{ begin: 31002, end: 31009 }]));
  t.same(allocatedOf(ledger, 'a'), amounts(1.5, 60, [{ begin: 31000, end: 31001 }]));
  t.equal(nodeOf(ledger, 't'), 'a');
  const after = applyEvents(ledger, [{ type: 'TaskEnded', task: 't' }]).ledger;
  t.same(freeOf(after, 'a'), amounts(4, 100, tenPorts));
  t.equal(nodeOf(after, 't'), undefined);
});

t.test('an event leaves the ledger that it was applied to as it was', async t => {
  const before = ledgerOf({ a: amounts(4) });
  applyEvents(before, [placed('t', 'a', amounts(1)), { type: 'NodeRemoved', node: 'a' }]);
  t.same(freeOf(before, 'a'), amounts(4));
  t.equal(nodeOf(before, 't'), undefined);
});

t.test('an event that does not fit is refused with the reason, and the others of its batch stand', async t => {
  const { ledger, refused } = applyEvents(ledgerOf({ a: amounts(2, 0, tenPorts) }), [
    placed('t', 'a', amounts(1, 0, [{ begin: 31000, end: 31000 }])),
    placed('t', 'a', amounts(1)),
    placed('big', 'a', amounts(1.5)),
    placed('port', 'a', amounts(0, 0, [{ begin: 31000, end: 31000 }])),
    placed('lost', 'b', amounts(1)),
    placed('odd', 'a', { scalars: { cpus: -1000 }, ranges: {}, sets: {} }),
    { type: 'TaskEnded', task: 'nobody' },
    { type: 'NodeRemoved', node: 'b' },
    placed('last', 'a', amounts(1)),
  ]);
  t.same(
    refused.map(({ why }) => why),
    [
      'task t is on node a already',
      'task big on node a: needs 1.5 cpus, has 1 cpus free',
      'task port on node a: needs ports 31000, not free',
      'node b is not registered',
      'task odd: expected whole amounts of 0 or more',
      'task nobody holds nothing',
      'node b is not registered',
    ],
  );
  t.same(freeOf(ledger, 'a')?.scalars.cpus, 0);
  t.same(checkLedger(ledger), []);
});

t.test('a node that comes back smaller than its tasks has nothing free until they end', async t => {
  const full = applyEvents(ledgerOf({ a: amounts(4) }), [placed('t', 'a', amounts(2)), placed('u', 'a', amounts(2))]);
  const shrink: LedgerEvent = { type: 'NodeRegistered', node: 'a', total: amounts(3) };
  const { ledger } = applyEvents(full.ledger, [shrink]);
  t.equal(accountOf(ledger, 'a')?.overdrawn, true);
  t.same(freeOf(ledger, 'a'), amounts(0));
  t.same(checkLedger(ledger), []);
  t.equal(applyEvents(ledger, [placed('v', 'a', amounts(0.1))]).refused.length, 1);
  const relieved = applyEvents(ledger, [{ type: 'TaskEnded', task: 't' }]).ledger;
  t.equal(accountOf(relieved, 'a')?.overdrawn, false);
  t.same(freeOf(relieved, 'a'), amounts(1));
});

t.test('a task found on a node counts even where the node has no room, but no port is held twice', async t => {
  const port = amounts(1, 0, [{ begin: 31000, end: 31000 }]);
  const { ledger, refused } = applyEvents(ledgerOf({ a: amounts(1, 0, tenPorts) }), [
    { type: 'TaskRecovered', task: 't', node: 'a', resources: port },
    { type: 'TaskRecovered', task: 'u', node: 'a', resources: amounts(1) },
    { type: 'TaskRecovered', task: 'v', node: 'a', resources: port },
  ]);
  t.same(
    refused.map(({ why }) => why),
    ['task v on node a: another task holds one of its ports or devices'],
  );
  t.same(allocatedOf(ledger, 'a')?.scalars.cpus, 2000);
  t.same(checkLedger(ledger), []);
});

t.test('a removed node takes its tasks along', async t => {
  const full = applyEvents(ledgerOf({ a: amounts(4), b: amounts(4) }), [
    placed('t', 'a', amounts(2)),
    placed('u', 'b', amounts(2)),
  ]);
  const { ledger } = applyEvents(full.ledger, [{ type: 'NodeRemoved', node: 'a' }]);
  t.equal(nodeOf(ledger, 't'), undefined);
  t.equal(freeOf(ledger, 'a'), undefined);
  t.equal(nodeOf(ledger, 'u'), 'b');
  t.same(checkLedger(ledger), []);
});

t.test('what is offered is nobody else’s until it is answered, and an answer takes it in one step', async t => {
  const made: LedgerEvent = { type: 'OfferMade', offer: 'o', node: 'a', role: 'eng', resources: amounts(3) };
  const offered = applyEvents(ledgerOf({ a: amounts(4) }), [made]).ledger;
  t.same(freeOf(offered, 'a'), amounts(1));
  t.match(offerOf(offered, 'o'), { node: 'a', role: 'eng', resources: amounts(3) });
  t.same(offered.roles.get('eng'), { scalars: { cpus: 3000 }, count: 1 }, 'it counts for its role');
  t.match(applyEvents(offered, [placed('t', 'a', amounts(2))]).refused, [
    { why: 'task t on node a: needs 2 cpus, has 1 cpus free' },
  ]);
  const { ledger, refused } = applyEvents(offered, [
    { type: 'OfferEnded', offer: 'o' },
    { type: 'TaskPlaced', task: 't', node: 'a', role: 'eng', resources: amounts(2) },
    { type: 'OfferEnded', offer: 'o' },
  ]);
  t.same(
    refused.map(({ why }) => why),
    ['there is no offer o'],
  );
  t.same([freeOf(ledger, 'a'), ledger.offers.size], [amounts(2), 0]);
});

t.test('an offer that its node can no longer keep is taken back', async t => {
  const made: LedgerEvent = { type: 'OfferMade', offer: 'o', node: 'a', resources: amounts(4) };
  const offered = applyEvents(ledgerOf({ a: amounts(4) }), [made]).ledger;
  for (const event of [
    { type: 'NodeRegistered', node: 'a', total: amounts(3) },
    { type: 'NodeRemoved', node: 'a' },
    { type: 'TaskRecovered', task: 't', node: 'a', resources: amounts(1) },
  ] as const) {
    const { ledger, rescinded } = applyEvents(offered, [event]);
    t.same([rescinded, checkLedger(ledger)], [['o'], []], event.type);
  }
  const grown = applyEvents(offered, [{ type: 'NodeRegistered', node: 'a', total: amounts(5) }]);
  t.same([grown.rescinded, freeOf(grown.ledger, 'a')], [[], amounts(1)]);
});

t.test('the check finds what is wrong', async t => {
  const { ledger } = applyEvents(ledgerOf({ a: amounts(4, 0, tenPorts) }), [
    placed('t', 'a', amounts(2, 0, [{ begin: 31000, end: 31000 }])),
  ]);
  const account = accountOf(ledger, 'a');
  if (account === undefined) throw new Error('node a is registered');
  const broken = (change: Partial<typeof account>, tasks = ledger.tasks): string => {
    const nodes = draftOf(ledger.nodes);
    nodes.set('a', { ...account, ...change });
    return checkLedger({ ...ledger, nodes: nodes.finish(), tasks }).join('\n');
  };
  t.equal(broken({}), '');
  t.match(broken({ total: amounts(1, 0, tenPorts) }), /over-committed: needs 2 cpus, has 1 cpus free/);
  t.match(broken({ overdrawn: true }), /called overdrawn, and is not/);
  t.match(broken({ free: amounts(4) }), /free is not what is left/);
  t.match(broken({ allocated: amounts(1) }), /something else than what is allocated/);
  t.match(
    broken({ tasks: new Map([...account.tasks, ['u', amounts(0, 0, [{ begin: 31000, end: 31000 }])]]) }),
    /same port/,
  );
  t.match(broken({}, emptyMap()), /task t is not entered[\s\S]*0 tasks are entered, 1 hold resources/);
});

const node = fc.constantFrom('a', 'b', 'c');
const task = fc.integer({ min: 0, max: 12 }).map(n => `t${n}`);
const role = fc.constantFrom('*', 'eng', 'eng/ci');
const some = fc
  .record({ cpus: fc.nat(4), mem: fc.nat(256), port: fc.nat(9), ports: fc.nat(3) })
  .map(({ cpus, mem, port, ports }) =>
    amounts(cpus, mem, ports === 0 ? [] : [{ begin: 31000 + port, end: 31000 + port + ports - 1 }]),
  );
const total = fc.record({ cpus: fc.nat(8), mem: fc.nat(512) }).map(({ cpus, mem }) => amounts(cpus, mem, tenPorts));
const event: fc.Arbitrary<LedgerEvent> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ type: fc.constant('NodeRegistered' as const), node, total }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('NodeRemoved' as const), node }) },
  { weight: 8, arbitrary: fc.record({ type: fc.constant('TaskPlaced' as const), task, node, role, resources: some }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('TaskRecovered' as const), task, node, resources: some }) },
  { weight: 5, arbitrary: fc.record({ type: fc.constant('TaskEnded' as const), task }) },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('OfferMade' as const), offer: task, node, role, resources: some }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('OfferEnded' as const), offer: task }) },
);

t.test('whatever happens, nothing is over-committed and nothing leaks', async t => {
  const batches = fc.array(fc.array(event, { maxLength: 6 }), { maxLength: 12 });
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(batches, batches => {
        let ledger = emptyLedger;
        for (const events of batches) {
          const before = ledger;
          const was = checkLedger(before).length === 0 && summaryOf(before);
          const applied = applyEvents(ledger, events);
          ledger = applied.ledger;
          const faults = checkLedger(ledger);
          if (faults.length > 0) throw new Error(faults.join('; '));
          if (summaryOf(before) !== was) throw new Error('the ledger that was applied to has changed');
          checkPlacements(before, events, applied);
        }
        // all tasks ended: all is free again
        const ends = ['a', 'b', 'c'].flatMap(id => [...(accountOf(ledger, id)?.tasks.keys() ?? [])]);
        const offers = ['a', 'b', 'c'].flatMap(id => [...(accountOf(ledger, id)?.offers.keys() ?? [])]);
        ledger = applyEvents(ledger, [
          ...ends.map(task => ({ type: 'TaskEnded' as const, task })),
          ...offers.map(offer => ({ type: 'OfferEnded' as const, offer })),
        ]).ledger;
        return (
          ledger.tasks.size === 0 &&
          ledger.offers.size === 0 &&
          ledger.roles.size === 0 &&
          ['a', 'b', 'c'].every(id => isWhollyFree(ledger, id))
        );
      }),
      { seed: 1, numRuns: 500 },
    ),
  );
});

t.test('a batch of events has the same outcome as the events one by one', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.array(event, { maxLength: 30 }), events => {
        const together = applyEvents(emptyLedger, events);
        let single = emptyLedger;
        const refused: string[] = [];
        for (const one of events) {
          const applied = applyEvents(single, [one]);
          refused.push(...applied.refused.map(({ why }) => why));
          single = applied.ledger;
        }
        return (
          summaryOf(together.ledger) === summaryOf(single) &&
          JSON.stringify(together.refused.map(({ why }) => why)) === JSON.stringify(refused)
        );
      }),
      { seed: 2, numRuns: 300 },
    ),
  );
});

/** An accepted placement fitted in what was left at that moment, by a reckoning that knows no ledger. */
function checkPlacements(
  before: Ledger,
  events: readonly LedgerEvent[],
  applied: ReturnType<typeof applyEvents>,
): void {
  const refused = new Set(applied.refused.map(({ event }) => event));
  let ledger = before;
  for (const event of events) {
    if (event.type === 'TaskPlaced' && !refused.has(event)) {
      const account = accountOf(ledger, event.node);
      const held = [...(account?.tasks.values() ?? []), ...(account?.offers.values() ?? [])];
      const all = sumOf([...held, event.resources]);
      const has = account?.total.scalars ?? {};
      for (const [name, amount] of Object.entries(all.scalars)) {
        const grows = (event.resources.scalars[name] ?? 0) > 0;
        if (grows && amount > (has[name] ?? 0)) throw new Error(`${event.task} was placed beyond ${name}`);
      }
    }
    ledger = applyEvents(ledger, [event]).ledger;
  }
}

function isWhollyFree(ledger: Ledger, id: string): boolean {
  const account = accountOf(ledger, id);
  return account === undefined || sameResources(account.free, account.total);
}

function summaryOf(ledger: Ledger): string {
  return JSON.stringify(
    ['a', 'b', 'c'].map(id => {
      const account = lookUp(ledger.nodes, id);
      return account && { ...account, tasks: [...account.tasks], offers: [...account.offers] };
    }),
  );
}
