import { join } from 'node:path';
import { openStore } from '../../src/store/store.ts';
import { storeContract } from '../contracts/store-contract.ts';

storeContract('sqlite', async t => {
  const store = await openStore({ path: join(t.testdir(), 'store.db') });
  t.teardown(() => store.close());
  return store;
});
