import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { errorCodes, isMesoliteError, MesoliteError, messageOf } from '../../src/base/errors.ts';

const sources = readdirSync('src', { recursive: true, encoding: 'utf8' })
  .filter(path => path.endsWith('.ts') && path !== join('base', 'errors.ts'))
  .map(path => ({ path, code: readFileSync(join('src', path), 'utf8') }));

t.test('every error code of the table is used', async t => {
  for (const code of Object.keys(errorCodes)) {
    t.ok(
      sources.some(source => source.code.includes(`'${code}'`)),
      code,
    );
  }
});

t.test('no source throws an error with a code that the table lacks', async t => {
  for (const { path, code } of sources) {
    for (const [, used = ''] of code.matchAll(/new MesoliteError\(\s*'([^']*)'/g))
      t.ok(used in errorCodes, `${path}: ${used}`);
  }
});

t.test('messages are lower case and have no period at the end', async t => {
  for (const { path, code } of sources) {
    for (const [, message = ''] of code.matchAll(/new MesoliteError\(\s*'[A-Z_]+',\s*['`]([^'`]*)['`]/g)) {
      t.notMatch(message, /^[A-Z][a-z]/, `${path}: ${message}`);
      t.notMatch(message, /\.$/, `${path}: ${message}`);
    }
  }
});

t.test('an error is told apart by its code and keeps its cause', async t => {
  const cause = new Error('below');
  const error = new MesoliteError('STALE', 'too old', { cause });
  t.equal(isMesoliteError(error), true);
  t.equal(isMesoliteError(error, 'STALE'), true);
  t.equal(isMesoliteError(error, 'CONFLICT'), false);
  t.equal(isMesoliteError(cause), false);
  t.equal(error.cause, cause);
  t.equal(messageOf(error), 'too old');
  t.equal(messageOf('thrown'), 'thrown');
});
