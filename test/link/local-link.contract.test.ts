import t from 'tap';
import { silentLog } from '../../src/base/log.ts';
import { LocalLink } from '../../src/link/local-link.ts';
import { linkContract } from '../contracts/link-contract.ts';
import { makeFleet, startBroker, startLink } from '../fixtures/wire.ts';

const fleet = makeFleet();

linkContract(t, async t => {
  const { broker, port } = await startBroker(t, fleet);
  const { link: other } = await startLink(t, fleet, port, 'master');
  return { link: new LocalLink({ port: broker, log: silentLog }), other };
});
