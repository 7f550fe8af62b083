import t from 'tap';
import { authorizationCases, corpusMissing, normalizationCases } from '../fixtures/istio-corpus.ts';

t.test('every authorization case of Istio agrees', { skip: corpusMissing }, async t => {
  for (const { name, expected, got } of authorizationCases()) t.equal(got, expected, name);
});

t.test('every path normalisation case of Istio agrees', { skip: corpusMissing }, async t => {
  for (const { name, expected, got } of normalizationCases()) t.equal(got, expected, name);
});
