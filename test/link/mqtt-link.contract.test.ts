import t from 'tap';
import { linkContract } from '../contracts/link-contract.ts';
import { makeFleet, makeLink, startBroker, startLink } from '../fixtures/wire.ts';

const fleet = makeFleet();

linkContract(t, async t => {
  const { port } = await startBroker(t, fleet);
  const { link: other } = await startLink(t, fleet, port, 'master', { settings: { clientId: 'other' } });
  return { link: makeLink(fleet, port, 'master'), other };
});
