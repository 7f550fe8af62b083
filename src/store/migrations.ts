import { type CreateTableBuilder, type Kysely, sql, type Transaction } from 'kysely';
import { MesoliteError } from '../base/errors.ts';
import type { Schema } from './schema.ts';

/** One numbered step of the schema; once released it is never edited, only followed by another. */
interface Migration {
  readonly version: number;
  readonly up: (db: Transaction<Schema>) => Promise<void>;
}

const migrations: readonly Migration[] = [
  { version: 1, up: firstTables },
  { version: 2, up: eventTable },
  { version: 3, up: certificateTable },
  { version: 4, up: approvalTables },
  { version: 5, up: schedulingTables },
  { version: 6, up: frameworkTables },
  { version: 7, up: rolloutTable },
  { version: 8, up: frameworkCredentials },
  { version: 9, up: auditAnchorTables },
  { version: 10, up: secretTable },
  { version: 11, up: jobUpdateTable },
  { version: 12, up: pastGenerationTable },
  { version: 13, up: documentsCreatedAt },
];

/** Brings the schema to the newest version in one transaction; throws START_FAILED when the database is newer than this program. */
export async function migrate(db: Kysely<Schema>): Promise<void> {
  await db.transaction().execute(async tx => {
    await sql`create table if not exists schema_version (version integer not null)`.execute(tx);
    const { rows } = await sql<{ version: number | null }>`select max(version) as version from schema_version`.execute(
      tx,
    );
    const present = rows[0]?.version ?? 0;
    const newest = migrations.at(-1)?.version ?? 0;
    if (present > newest) {
      throw new MesoliteError(
        'START_FAILED',
        `the database has schema ${present}, this version of mesolite knows ${newest}: use the version that wrote it, or a newer one`,
      );
    }
    for (const migration of migrations) {
      if (migration.version <= present) continue;
      await migration.up(tx);
      await sql`insert into schema_version (version) values (${migration.version})`.execute(tx);
    }
  });
}

async function firstTables(db: Transaction<Schema>): Promise<void> {
  await create(db, 'meta', t => texts(t, 'name', 'value').addPrimaryKeyConstraint('meta_pk', ['name']));
  await create(db, 'counters', t =>
    numbers(texts(t, 'name'), 'value').addPrimaryKeyConstraint('counters_pk', ['name']),
  );
  await accessTables(db);
  await create(db, 'nodes', t =>
    numbers(texts(t, 'id', 'keyPin', 'labelsJson', 'state'), 'joinedAt', 'lastSeen', 'boot', 'epoch', 'generation')
      .addColumn('birthJson', 'text')
      .addPrimaryKeyConstraint('nodes_pk', ['id']),
  );
  await create(db, 'documents', t =>
    numbers(texts(t, 'kind', 'namespace', 'name', 'json'), 'revision', 'updatedAt').addPrimaryKeyConstraint(
      'documents_pk',
      ['kind', 'namespace', 'name'],
    ),
  );
  await taskTables(db);
  await auditTables(db);
}

async function accessTables(db: Transaction<Schema>): Promise<void> {
  await create(db, 'operatorTokens', t =>
    numbers(texts(t, 'name', 'hash', 'role'), 'createdAt')
      .addPrimaryKeyConstraint('operator_tokens_pk', ['name'])
      .addUniqueConstraint('operator_tokens_hash', ['hash']),
  );
  await create(db, 'joinTokens', t =>
    numbers(texts(t, 'id', 'key', 'labelsJson'), 'uses', 'used', 'expiresAt', 'createdAt')
      .addColumn('node', 'text')
      .addPrimaryKeyConstraint('join_tokens_pk', ['id']),
  );
  await create(db, 'joins', t =>
    numbers(texts(t, 'tokenId', 'keyPin', 'node', 'chain'), 'at')
      .addPrimaryKeyConstraint('joins_pk', ['tokenId', 'keyPin'])
      .addForeignKeyConstraint('joins_token', ['tokenId'], 'joinTokens', ['id'], key => key.onDelete('cascade')),
  );
}

async function taskTables(db: Transaction<Schema>): Promise<void> {
  const optionalNumbers = ['startedAt', 'endedAt', 'expectedEndAt', 'exitCode', 'pid', 'ranMs'] as const;
  const optionalTexts = ['node', 'specJson', 'reason', 'message', 'signal'] as const;
  await create(db, 'tasks', t => {
    let table: Builder = texts(t, 'id', 'job', 'namespace', 'label', 'type', 'state', 'template');
    table = numbers(table, 'priority', 'position', 'stopping', 'submittedAt', 'ready', 'restarts');
    for (const name of optionalTexts) table = table.addColumn(name, 'text');
    for (const name of optionalNumbers) table = table.addColumn(name, 'bigint');
    return table
      .addPrimaryKeyConstraint('tasks_pk', ['id'])
      .addForeignKeyConstraint('tasks_node', ['node'], 'nodes', ['id']);
  });
  await db.schema.createIndex('tasks_job').on('tasks').columns(['namespace', 'job', 'position']).execute();
  await db.schema.createIndex('tasks_node_state').on('tasks').columns(['node', 'state']).execute();
  await create(db, 'taskEvents', t =>
    numbers(texts(t, 'task', 'uuid', 'statusJson'), 'position', 'receivedAt')
      .addPrimaryKeyConstraint('task_events_pk', ['task', 'uuid'])
      .addForeignKeyConstraint('task_events_task', ['task'], 'tasks', ['id'], key => key.onDelete('cascade')),
  );
}

async function auditTables(db: Transaction<Schema>): Promise<void> {
  await create(db, 'auditChains', t =>
    numbers(texts(t, 'node', 'head'), 'chain', 'last').addPrimaryKeyConstraint('audit_chains_pk', ['node']),
  );
  await create(db, 'audit', t => {
    return numbers(texts(t, 'node', 'source', 'verdict'), 'position', 'chain', 'number', 'at')
      .addColumn('line', 'text')
      .addColumn('gap', 'text')
      .addPrimaryKeyConstraint('audit_pk', ['position'])
      .addUniqueConstraint('audit_number', ['node', 'chain', 'number']);
  });
  await db.schema.createIndex('audit_at').on('audit').columns(['at']).execute();
  await db.schema.createIndex('audit_source').on('audit').columns(['source', 'at']).execute();
  await db.schema.createIndex('audit_verdict').on('audit').columns(['verdict', 'at']).execute();
}

async function eventTable(db: Transaction<Schema>): Promise<void> {
  await create(db, 'events', t =>
    numbers(texts(t, 'kind', 'message'), 'id', 'at', 'count')
      .addColumn('node', 'text')
      .addPrimaryKeyConstraint('events_pk', ['id']),
  );
  await db.schema.createIndex('events_at').on('events').columns(['at']).execute();
  await db.schema.createIndex('events_kind').on('events').columns(['kind', 'node', 'at']).execute();
}

async function approvalTables(db: Transaction<Schema>): Promise<void> {
  const tokens = db.schema.alterTable('joinTokens');
  await tokens.addColumn('profile', 'text').execute();
  await tokens.addColumn('requiresJson', 'text', column => column.notNull().defaultTo('{}')).execute();
  await tokens.addColumn('approve', 'bigint', column => column.notNull().defaultTo(0)).execute();
  await create(db, 'joinRequests', t =>
    numbers(texts(t, 'id', 'tokenId', 'keyPin', 'node', 'labelsJson', 'state'), 'at')
      .addColumn('profile', 'text')
      .addColumn('reason', 'text')
      .addPrimaryKeyConstraint('join_requests_pk', ['id'])
      .addForeignKeyConstraint('join_requests_token', ['tokenId'], 'joinTokens', ['id'], key =>
        key.onDelete('cascade'),
      ),
  );
  await db.schema.alterTable('nodes').addColumn('quarantine', 'text').execute();
}

async function schedulingTables(db: Transaction<Schema>): Promise<void> {
  await db.schema
    .alterTable('tasks')
    .addColumn('role', 'text', column => column.notNull().defaultTo('*'))
    .execute();
  await db.schema.alterTable('nodes').addColumn('drainJson', 'text').execute();
  await create(db, 'estimates', t =>
    numbers(texts(t, 'profile', 'class'), 'count', 'learnedAt')
      .addColumn('meanLn', 'double precision', column => column.notNull())
      .addColumn('varianceLn', 'double precision', column => column.notNull())
      .addPrimaryKeyConstraint('estimates_pk', ['profile', 'class']),
  );
}

async function frameworkTables(db: Transaction<Schema>): Promise<void> {
  await create(db, 'frameworks', t =>
    numbers(texts(t, 'id', 'principal', 'infoJson'), 'registeredAt', 'reregisteredAt')
      .addColumn('removedAt', 'bigint')
      .addPrimaryKeyConstraint('frameworks_pk', ['id']),
  );
  for (const name of ['framework', 'frameworkTask'] as const) {
    await db.schema.alterTable('tasks').addColumn(name, 'text').execute();
  }
  await db.schema
    .alterTable('tasks')
    .addColumn('acknowledged', 'bigint', column => column.notNull().defaultTo(0))
    .execute();
  await db.schema.createIndex('tasks_framework').on('tasks').columns(['framework', 'frameworkTask']).execute();
}

async function rolloutTable(db: Transaction<Schema>): Promise<void> {
  await create(db, 'rollouts', t =>
    numbers(texts(t, 'subject', 'specJson', 'changesJson', 'operator', 'stateJson'), 'number', 'startedAt')
      .addColumn('endedAt', 'bigint')
      .addPrimaryKeyConstraint('rollouts_pk', ['number']),
  );
}

async function jobUpdateTable(db: Transaction<Schema>): Promise<void> {
  await create(db, 'jobUpdates', t =>
    numbers(texts(t, 'namespace', 'name', 'fromJson', 'phase'), 'startedAt')
      .addColumn('reason', 'text')
      .addColumn('endedAt', 'bigint')
      .addPrimaryKeyConstraint('job_updates_pk', ['namespace', 'name']),
  );
}

async function frameworkCredentials(db: Transaction<Schema>): Promise<void> {
  await db.schema.alterTable('operatorTokens').addColumn('rolesJson', 'text').execute();
}

async function auditAnchorTables(db: Transaction<Schema>): Promise<void> {
  await create(db, 'auditRuns', t =>
    numbers(texts(t, 'node', 'head'), 'run', 'chain', 'last', 'position').addPrimaryKeyConstraint('audit_runs_pk', [
      'node',
      'run',
    ]),
  );
  await create(db, 'auditAnchors', t =>
    numbers(texts(t, 'node', 'statement', 'keyId', 'signature'), 'position', 'seq', 'at', 'bytesTo')
      .addPrimaryKeyConstraint('audit_anchors_pk', ['position'])
      .addUniqueConstraint('audit_anchors_seq', ['node', 'seq']),
  );
  await db.schema.createIndex('audit_anchors_at').on('auditAnchors').columns(['at', 'position']).execute();
  await db.schema.createIndex('audit_anchors_bytes').on('auditAnchors').columns(['bytesTo']).execute();
  await create(db, 'auditPruned', t =>
    numbers(texts(t, 'node', 'hash', 'statement', 'keyId', 'signature'), 'seq').addPrimaryKeyConstraint(
      'audit_pruned_pk',
      ['node'],
    ),
  );
  await create(db, 'auditSigners', t =>
    texts(t, 'keyId', 'certificate').addPrimaryKeyConstraint('audit_signers_pk', ['keyId']),
  );
  await db.schema
    .alterTable('audit')
    .addColumn('workload', 'text', column => column.notNull().defaultTo(''))
    .execute();
  await db.schema.createIndex('audit_workload').on('audit').columns(['workload', 'at']).execute();
  await db.schema.createIndex('audit_node').on('audit').columns(['node', 'at']).execute();
  // what is there has no anchors: it is shown, and not verified
  await sql`update audit set chain = -1 - chain`.execute(db);
  await db.schema.dropTable('auditChains').execute();
}

async function secretTable(db: Transaction<Schema>): Promise<void> {
  await create(db, 'secrets', t =>
    numbers(texts(t, 'namespace', 'name', 'sealed'), 'version', 'updatedAt').addPrimaryKeyConstraint('secrets_pk', [
      'namespace',
      'name',
    ]),
  );
}

async function pastGenerationTable(db: Transaction<Schema>): Promise<void> {
  await create(db, 'pastGenerations', t =>
    numbers(texts(t, 'node'), 'epoch', 'generation').addPrimaryKeyConstraint('past_generations_pk', ['node', 'epoch']),
  );
}

async function documentsCreatedAt(db: Transaction<Schema>): Promise<void> {
  const documents = db.schema.alterTable('documents');
  await documents.addColumn('createdAt', 'bigint', column => column.notNull().defaultTo(0)).execute();
  await db
    .updateTable('documents')
    .set(row => ({ createdAt: row.ref('updatedAt') }))
    .execute();
}

type Builder = CreateTableBuilder<string, string>;

async function certificateTable(db: Transaction<Schema>): Promise<void> {
  await create(db, 'certificates', t =>
    numbers(texts(t, 'serial', 'kind', 'spiffeId', 'issuer'), 'notBefore', 'notAfter', 'issuedAt')
      .addColumn('node', 'text')
      .addColumn('revokedAt', 'bigint')
      .addPrimaryKeyConstraint('certificates_pk', ['serial']),
  );
  await db.schema.createIndex('certificates_node').on('certificates').columns(['node', 'notAfter']).execute();
  await db.schema.createIndex('certificates_end').on('certificates').columns(['notAfter']).execute();
}

async function create(db: Transaction<Schema>, table: string, define: (table: Builder) => Builder): Promise<void> {
  await define(db.schema.createTable(table)).execute();
}

function texts(table: Builder, ...names: readonly string[]): Builder {
  return names.reduce((t, name) => t.addColumn(name, 'text', column => column.notNull()), table);
}

function numbers(table: Builder, ...names: readonly string[]): Builder {
  return names.reduce((t, name) => t.addColumn(name, 'bigint', column => column.notNull()), table);
}
