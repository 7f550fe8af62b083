import t from 'tap';
import {
  afterLasting,
  afterStart,
  beginVersion,
  firstVersions,
  installedVersion,
  keepVersion,
  mostTries,
  refuseVersion,
} from '../../src/lifecycle/agent-version.ts';

const all = () => true;

t.test('what is begun runs at the next start only once it has reported in', async t => {
  const begun = beginVersion(firstVersions, 'new', 1_000);
  t.match(begun, { current: installedVersion, tried: { id: 'new', times: 1, withinMs: 1_000 } });
  t.equal(afterStart(begun, all).current, installedVersion);
  const kept = keepVersion(begun, 'new');
  t.match(kept, { current: 'new', previous: installedVersion, tried: null, refused: null });
  t.equal(afterStart(kept, all).current, 'new');
});

t.test('the installed version alone counts no starts', async t => {
  t.equal(afterStart(firstVersions, all), firstVersions);
});

t.test('a version that ends soon after each start gives way to the one before it, and is not begun again', async t => {
  let versions = keepVersion(firstVersions, 'new');
  for (let i = 0; i < mostTries; i++) {
    versions = afterStart(versions, all);
    t.equal(versions.current, 'new');
  }
  t.match(
    afterStart(afterLasting(versions), all),
    { current: 'new', starts: 1 },
    'one that has lasted begins to count anew',
  );
  versions = afterStart(versions, all);
  t.match(versions, { current: installedVersion, refused: { id: 'new', why: /3 times in a row/ } });
  t.equal(afterStart(versions, all).current, installedVersion);
});

t.test('what a card has lost gives way to what is there', async t => {
  const newest = keepVersion(keepVersion(firstVersions, 'new'), 'newer');
  t.match(
    afterStart(newest, id => id === 'new'),
    { current: 'new', refused: { id: 'newer', why: /not on the disk/ } },
  );
  t.match(
    afterStart(newest, () => false),
    { current: installedVersion },
  );
});

t.test('a version is begun three times without a word of it, and then refused', async t => {
  let versions = firstVersions;
  for (let i = 0; i < mostTries; i++) versions = beginVersion(versions, 'new', 1_000);
  t.match(beginVersion(versions, 'new', 1_000), { tried: null, refused: { id: 'new', why: /never reported in/ } });
  t.match(beginVersion(versions, 'other', 1_000), { tried: { id: 'other', times: 1 } });
  t.match(
    beginVersion(versions, installedVersion, 1_000),
    { tried: null, refused: null },
    'the way back is always open',
  );
});

t.test('what is refused is told in a few words', async t => {
  t.equal(refuseVersion(firstVersions, 'new', 'x'.repeat(9_999)).refused?.why.length, 400);
});
