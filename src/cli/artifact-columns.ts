import type { ArtifactView } from '../model/artifact.ts';
import { printAge } from './readable.ts';
import type { Column } from './table.ts';

export const artifactColumns: readonly Column<ArtifactView>[] = [
  { head: 'ARTIFACT', cell: artifact => artifact.address },
  { head: 'SIZE', cell: ({ bytes }) => `${(bytes / 1e6).toFixed(1)} MB`, align: 'right' },
  { head: 'AGE', cell: ({ pushedAt }, now) => printAge(pushedAt, now) },
  { head: 'JOBS', cell: ({ jobs }) => jobs.join(', ') || '-' },
];
