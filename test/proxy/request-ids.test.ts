import t from 'tap';
import { RequestIds } from '../../src/proxy/request-ids.ts';

t.test('ids look like UUIDs and differ, also from those of another process', async t => {
  const [ids, others] = [new RequestIds(), new RequestIds()];
  const seen = new Set<string>();
  for (let i = 0; i < 20_000; i++) seen.add(ids.next()).add(others.next());
  t.equal(seen.size, 40_000);
  for (const id of seen) if (!/^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/.test(id)) t.fail(id);
});
