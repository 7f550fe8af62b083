import type { SecretView } from '../model/secret.ts';
import { printAge } from './readable.ts';
import type { Column } from './table.ts';

export const secretColumns: readonly Column<SecretView>[] = [
  { head: 'SECRET', cell: secret => secret.name },
  { head: 'NAMESPACE', cell: secret => secret.namespace },
  { head: 'VERSION', cell: secret => String(secret.version), align: 'right' },
  { head: 'AGE', cell: (secret, now) => printAge(secret.updatedAt, now) },
  { head: 'USED BY', cell: ({ usedBy }) => (usedBy.length === 0 ? '-' : usedBy.join(', ')) },
];
