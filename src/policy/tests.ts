import type { Test } from './attributes.ts';

/** All tests hold; none is always. */
export function all(tests: readonly Test[]): Test {
  const needed = tests.filter(test => test !== always);
  const [first = always, second] = needed;
  if (second === undefined) return first;
  if (needed.length === 2) return facts => first(facts) && second(facts);
  return facts => {
    for (const test of needed) if (!test(facts)) return false;
    return true;
  };
}

/** One of the tests holds. */
export function any(tests: readonly Test[]): Test {
  return facts => {
    for (const test of tests) if (test(facts)) return true;
    return false;
  };
}

const always: Test = () => true;
