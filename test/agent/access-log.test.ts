import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type AccessLogSettings, openAccessLog } from '../../src/agent/access-log.ts';
import { accessRecord } from '../fixtures/api-views.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';

async function stage(t: Test, settings: Partial<AccessLogSettings>) {
  const clock = new FakeClock();
  const log = new CapturedLog();
  const stop = new AbortController();
  const file = join(t.testdir(), 'access.log');
  let dice = 0;
  // 0, 0.1, … 0.9, 0, …
  const random = () => (dice++ % 10) / 10;
  const all: AccessLogSettings = { file, format: 'json', sample: 1, perSecond: 1_000, ...settings };
  const accessLog = await openAccessLog({ clock, log, random }, all, stop.signal);
  const end = () => {
    stop.abort();
    return accessLog.ended;
  };
  t.teardown(end);
  /** The paths of the lines, at the end. */
  const paths = async (): Promise<string[]> => {
    await end();
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
    return lines.map(line => JSON.parse(line).path);
  };
  return { accessLog, clock, log, paths };
}

const allowed = { verdict: 'allow', status: 200 } as const;

t.test('of requests that went well a share is written, of the others all', async t => {
  const { accessLog, paths } = await stage(t, { sample: 0.2 });
  for (let i = 0; i < 20; i++) accessLog.record(accessRecord({ ...allowed, path: '/well' }));
  accessLog.record(accessRecord({ path: '/denied' }));
  accessLog.record(accessRecord({ ...allowed, status: 502, path: '/failed' }));
  accessLog.record(accessRecord({ ...allowed, flags: 'DC', path: '/cut' }));
  t.same(await paths(), ['/well', '/well', '/well', '/well', '/denied', '/failed', '/cut']);
});

t.test('more lines than the rate are dropped and counted, and the log says so', async t => {
  const { accessLog, clock, log, paths } = await stage(t, { perSecond: 2 });
  for (const path of ['/1', '/2', '/3', '/4']) accessLog.record(accessRecord({ path }));
  t.equal(accessLog.dropped, 2);
  t.equal(log.all('lines of the access log are dropped').length, 1, 'once in a minute');
  await clock.advance(500);
  accessLog.record(accessRecord({ path: '/5' }));
  t.same(await paths(), ['/1', '/2', '/5']);
});
