import t from 'tap';
import { secondMs } from '../../src/base/clock.ts';
import { type LogFields, silentLog } from '../../src/base/log.ts';
import { ratedLog } from '../../src/base/rated-log.ts';

t.test('warnings that come too often are left out and counted, each sentence by itself; all else is said', t => {
  let now = 0;
  const said: [string, LogFields | undefined][] = [];
  const say = (sentence: string, fields?: LogFields) => said.push([sentence, fields]);
  const log = ratedLog({ ...silentLog, warn: say, error: say }, () => now);
  for (let i = 0; i < 100; i++) log.warn('it is broken', { i });
  t.equal(said.length, 10);
  log.warn('it is late');
  for (let i = 0; i < 20; i++) log.error('it has failed');
  t.equal(said.length, 31);
  now += 10 * secondMs;
  log.warn('it is broken', { i: 100 });
  log.warn('it is broken', { i: 101 });
  t.same(said.slice(31), [['it is broken', { i: 100, unsaid: 90 }]]);
  now += 10 * secondMs;
  log.warn('it is broken', { i: 102 });
  t.same(said.at(-1), ['it is broken', { i: 102, unsaid: 1 }]);
  t.end();
});
