import t from 'tap';
import { decodeDocument } from '../../../src/model/document.ts';
import { compileRegex } from '../../../src/traffic/regex.ts';
import { checkVirtualService } from '../../../src/traffic/route-check.ts';
import { compileRoutes } from '../../../src/traffic/service-routes.ts';
import { bookinfo, documentsOf, drawVersions, versionOf } from '../../fixtures/bookinfo.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';
import { corpusMissing } from '../../fixtures/istio-corpus.ts';

t.test('all files are taken as they are, without a complaint', { skip: corpusMissing }, async t => {
  const files = [
    'fault-injection-details-v1.yaml',
    'virtual-service-ratings-test-delay.yaml',
    'virtual-service-reviews-80-20.yaml',
    'virtual-service-reviews-jason-v2-v3.yaml',
  ];
  for (const document of documentsOf(...files)) {
    if (document.kind === 'VirtualService') t.same(checkVirtualService(document, compileRegex).errors, []);
  }
});

t.test('80 of 100 requests go to v1 and 20 to v2', { skip: corpusMissing }, async t => {
  const files = ['virtual-service-reviews-80-20.yaml', 'destination-rule-reviews.yaml'];
  const { client, request } = await bookinfo(t, 'reviews', files);
  const runs = 10_000;
  const drawn = await drawVersions({ client, request }, runs);
  const first = drawn.get('v1') ?? 0;
  t.equal(first + (drawn.get('v2') ?? 0), runs, 'every request was answered by one of the two');
  const threeSigma = 3 * Math.sqrt(runs * 0.8 * 0.2);
  t.ok(Math.abs(first - 0.8 * runs) < threeSigma, `${first} of ${runs} went to v1`);
});

t.test('jason sees v2 and everybody else v3', { skip: corpusMissing }, async t => {
  const files = ['virtual-service-reviews-jason-v2-v3.yaml', 'destination-rule-reviews.yaml'];
  const { client, request } = await bookinfo(t, 'reviews', files);
  const task = await client();
  for (let i = 0; i < 20; i++) {
    t.equal(versionOf(await task.askWhole(request('end-user: jason\r\n'))), 'v2');
    t.equal(versionOf(await task.askWhole(request())), 'v3');
    t.equal(versionOf(await task.askWhole(request('end-user: Jason\r\n'))), 'v3');
  }
});

t.test('jason waits 7 s for ratings and nobody else does', { skip: corpusMissing }, async t => {
  const clock = new FakeClock();
  const files = ['virtual-service-ratings-test-delay.yaml', 'destination-rule-all-mtls.yaml'];
  const { client, request, caller } = await bookinfo(t, 'ratings', files, clock);
  const task = await client();
  t.equal(versionOf(await task.askWhole(request())), 'v1');
  const sleepers = clock.sleepers;
  const delayed = task.askWhole(request('end-user: jason\r\n'));
  await clock.untilSleeping(sleepers + 1);
  await clock.advance(6_999);
  t.equal(caller.records.length, 1);
  await clock.advance(1);
  t.equal(versionOf(await delayed), 'v1');
  await caller.recorded(2);
  t.ok((caller.records[1]?.durationMs ?? 0) >= 7_000);
  t.match(caller.records[1], { flags: 'DI', status: 200 });
});

t.test('every call of details fails with 555', { skip: corpusMissing }, async t => {
  const { client, request, caller } = await bookinfo(t, 'details', ['fault-injection-details-v1.yaml']);
  const task = await client();
  t.match(await task.askWhole(request()), /^HTTP\/1\.1 555 [\s\S]*fault filter abort$/);
  await caller.recorded(1);
  t.match(caller.records[0], { flags: 'FI', status: 555 });
});

t.test('a subset that no rule defines is nobody', async t => {
  const { client, request, caller } = await bookinfo(t, 'reviews', []);
  const [document] = [
    decodeDocument(
      {
        apiVersion: 'networking.istio.io/v1',
        kind: 'VirtualService',
        metadata: { name: 'reviews' },
        spec: { hosts: ['reviews'], http: [{ route: [{ destination: { host: 'reviews', subset: 'v9' } }] }] },
      },
      'test',
    ),
  ];
  if (document.kind !== 'VirtualService') throw new TypeError(document.kind);
  caller.routes.set(compileRoutes([document], compileRegex));
  t.match(await (await client()).askWhole(request()), /^HTTP\/1\.1 503 [\s\S]*subset v9 of reviews\.default/);
});
