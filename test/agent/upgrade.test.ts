import t from 'tap';
import { openVersions } from '../../src/agent/agent-versions.ts';
import { makeUpgrade } from '../../src/agent/upgrade.ts';
import { MesoliteError } from '../../src/base/errors.ts';
import { silentLog } from '../../src/base/log.ts';
import { installedVersion } from '../../src/lifecycle/agent-version.ts';
import type { TaskArtifact } from '../../src/model/artifact.ts';
import { until } from '../fixtures/fleet-until.ts';

t.test(
  'a bundle is fetched with what signs it, and one that is not signed as it has to be is refused with the reason',
  async t => {
    const versions = await openVersions(t.testdir());
    const asked: TaskArtifact[] = [];
    const handedOver: string[] = [];
    const upgrade = makeUpgrade(
      {
        artifacts: {
          async fetch(artifact) {
            asked.push(artifact);
            throw new MesoliteError('UNTRUSTED', 'nobody has signed it');
          },
        },
        ...{ log: silentLog, isUp: () => true, tell: async () => {}, onRefused: () => {}, onWritten: () => {} },
      },
      { running: installedVersion, versions, handOver: version => handedOver.push(version) },
      new AbortController().signal,
    );
    const sha256 = 'a'.repeat(64);
    upgrade.want({ source: `mesolite:${sha256}`, reportWithin: 1_000, signature: 'by somebody' });
    const refused = await until('it is refused', () => versions.state.value.refused ?? undefined);
    t.same(refused, { id: sha256, why: 'nobody has signed it' });
    t.match(asked, [{ sha256, signature: 'by somebody', unpack: 'tar.gz' }]);
    t.same(handedOver, []);
    t.same(upgrade.facts().refusedBundle, { bundle: sha256, why: 'nobody has signed it' });
  },
);
