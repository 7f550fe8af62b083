import t from 'tap';
import { deriveSealKey, offerSealKey, seal, unseal, whyNotSealKey } from '../../src/identity/sealing.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';

const now = Date.UTC(2030, 0, 1);

t.test('what is sealed to a key opens with it alone, for what it was sealed, unchanged', async t => {
  const key = deriveSealKey('a secret of the node');
  const sealed = seal(key.publicKey, Buffer.from('p\0ssword'), 'task\nname\n1');
  t.equal(unseal(deriveSealKey('a secret of the node'), sealed, 'task\nname\n1').toString(), 'p\0ssword');
  t.not(sealed, seal(key.publicKey, Buffer.from('p\0ssword'), 'task\nname\n1'), 'no two are alike');
  t.throws(() => unseal(deriveSealKey('of another'), sealed, 'task\nname\n1'), { code: 'UNTRUSTED' });
  t.throws(() => unseal(key, sealed, 'task\nname\n2'), { code: 'UNTRUSTED' });
  for (const at of [0, 40, sealed.length - 2]) {
    const changed = `${sealed.slice(0, at)}${sealed[at] === 'A' ? 'B' : 'A'}${sealed.slice(at + 1)}`;
    t.throws(() => unseal(key, changed, 'task\nname\n1'), { code: 'UNTRUSTED' }, `changed at ${at}`);
  }
  for (const short of ['', 'AAAA', sealed.slice(0, 43)]) {
    t.throws(() => unseal(key, short, 'task\nname\n1'), { code: 'UNTRUSTED' });
  }
});

t.test('nothing is sealed to what is no key, nor to one that everybody shares', async t => {
  for (const wrong of [
    '',
    'AAAA',
    Buffer.alloc(32).toString('base64url'),
    'not a key at all, and too long for one, too',
  ]) {
    t.throws(() => seal(wrong, Buffer.from('x'), 'c'), { code: 'INVALID_INPUT' });
  }
});

t.test('a key is a node’s own when its certificate says so', async t => {
  const { authority, node } = makeTestAuthority(now);
  const offered = offerSealKey(deriveSealKey('s'), 'pi-1', node('pi-1'));
  const ask = (offer = offered, name = 'pi-1') => whyNotSealKey(offer, name, authority.bundle, { now });
  t.equal(ask(), undefined);
  t.match(ask(offered, 'pi-2'), /it is of .*pi-1/);
  t.match(ask({ ...offered, key: deriveSealKey('of a broker').publicKey }), /does not verify/);
  t.match(ask({ ...offered, signature: 'AAAA' }), /does not verify/);
  t.match(ask({ ...offered, chain: 'nothing' }), /cannot be read/);
  const other = makeTestAuthority(now).node('pi-1');
  t.type(ask(offerSealKey(deriveSealKey('s'), 'pi-1', other)), 'string');
});
