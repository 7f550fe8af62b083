import t from 'tap';
import { accessLine } from '../../src/model/access-line.ts';
import { accessRecord } from '../fixtures/api-views.ts';

const record = accessRecord({ at: Date.UTC(2030, 0, 2, 3, 4, 5, 6), path: '/a"b', flags: 'UF', durationMs: 12.6 });

t.test('a line of JSON has all that is known, with a time that people read', async t => {
  const { at, ...rest } = record;
  t.same(JSON.parse(accessLine(record, 'json')), { time: '2030-01-02T03:04:05.006Z', ...rest });
});

t.test("a line in Envoy's default format, whose quotes a client cannot end", async t => {
  t.equal(
    accessLine(record, 'envoy'),
    '[2030-01-02T03:04:05.006Z] "GET /a%22b HTTP/1.1" 403 UF 0 19 13 - "-" "-" "r1" "hello.default.mesh" "-"',
  );
});

t.test('what was no request has no protocol', async t => {
  const line = accessLine(accessRecord({ method: '-', path: '-', host: '-', requestId: '-' }), 'envoy');
  t.match(line, '"- - -" 403 - 0 19 2 - "-" "-" "-" "-" "-"');
});
