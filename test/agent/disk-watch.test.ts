import t from 'tap';
import { makeDiskWatch } from '../../src/agent/disk-watch.ts';
import { silentLog } from '../../src/base/log.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

const mb = 1024 * 1024;

t.test('a disk that fills up is said, and what is not needed makes room until there is some again', async t => {
  const clock = new FakeClock();
  const ending = new AbortController();
  let [freeMb, usedMb] = [100, 8_000];
  const said: string[] = [];
  const watch = makeDiskWatch(
    {
      ...{ clock, log: silentLog, readDisk: () => ({ freeMb, usedMb }) },
      files: { keepReserve: async () => said.push('reserve') > 0 },
      onChanged: () => said.push('told'),
    },
    { dataDir: '/data' },
  );
  watch.whenFull(async bytes => {
    said.push(`wants ${bytes / mb}`);
    if (freeMb === 4) throw new Error('busy');
    freeMb += 10;
    return 10 * mb;
  });
  const running = watch.run(ending.signal);
  const look = async () => {
    await clock.untilSleeping();
    said.length = 0;
    await clock.advance(10_000);
    await clock.untilSleeping();
    return [...said];
  };
  t.same(await look(), ['reserve']);
  freeMb = 4;
  t.same(await look(), ['told', 'wants 28']);
  t.match(watch.warnings(), [/is full \(4\.0 MB were free\)/]);
  t.same(await look(), ['wants 28'], 'what cannot be removed now ends nothing');
  freeMb = 14;
  t.same(await look(), ['wants 18']);
  t.same(await look(), ['wants 8']);
  t.same(await look(), ['told', 'reserve'], 'there is room again');
  t.same(watch.warnings(), []);
  [freeMb, usedMb] = [8, 24];
  t.same(await look(), ['told'], 'a small disk is told, and has enough');
  [freeMb, usedMb] = [1, 31];
  t.same(await look(), ['wants 1']);
  ending.abort();
  await running;
});
