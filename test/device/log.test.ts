import t from 'tap';
import { MesoliteError } from '../../src/base/errors.ts';
import { type LogLevel, makeLog, plainLine } from '../../src/device/log.ts';

function capture(level: LogLevel = 'debug') {
  const lines: string[] = [];
  const log = makeLog({ name: 'agent', level, destination: { write: line => void lines.push(line) } });
  return { log, lines, last: (): Record<string, unknown> => JSON.parse(lines.at(-1) ?? '{}') };
}

t.test('an entry is one line of JSON with a sentence and fields', async t => {
  const { log, lines, last } = capture();
  log.info('the link is up', { broker: 'mqtts://edge:8883', afterMs: 12 });
  t.match(last(), { level: 'info', name: 'agent', msg: 'the link is up', broker: 'mqtts://edge:8883', afterMs: 12 });
  t.match(last().time, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  log.with({ task: 'a' }).warn('two\nlines');
  t.match(last(), { level: 'warn', task: 'a', msg: 'two\nlines' });
  t.strictSame(
    lines.map(line => line.indexOf('\n')),
    lines.map(line => line.length - 1),
  );
});

t.test('what is below the level is not written', async t => {
  const { log, lines } = capture('warn');
  log.debug('x');
  log.info('x');
  log.warn('x');
  log.error('x');
  t.equal(lines.length, 2);
});

t.test('an error shows what it says, ours without a stack', async t => {
  const { log, last } = capture();
  log.error('cannot join', {
    error: new MesoliteError('UNAVAILABLE', 'no answer', { cause: new Error('ECONNREFUSED') }),
  });
  t.strictSame(last().error, { code: 'UNAVAILABLE', message: 'no answer', cause: 'ECONNREFUSED' });
  log.error('a defect', { error: new TypeError('x is not a function') });
  t.match(last().error, { message: 'x is not a function', stack: /log\.test/ });
});

t.test('fields that are named like secrets do not show', async t => {
  const { log, lines } = capture();
  log.info('x', { token: 'hush1', options: { password: 'hush2' }, privateKey: 'hush3', join: 'hush4' });
  log.with({ secret: 'hush5' }).info('y');
  t.notMatch(lines.join(''), /hush/);
});

t.test('a person reads a plain line', async t => {
  const { log, lines } = capture();
  log.warn('the disk is nearly full', { freeMb: 12, path: '/var/lib' });
  t.match(
    plainLine(lines[0] ?? ''),
    /^\d\d:\d\d:\d\d warn {2}agent: the disk is nearly full {2}freeMb=12 path=\/var\/lib\n$/,
  );
});
