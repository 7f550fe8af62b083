import { dayMs, hourMs, minuteMs } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import type { CertificateTemplate } from './certificate.ts';

/** How long what the authority makes is valid, in milliseconds; `backdateMs` allows for clocks that are behind. */
export interface Lifetimes {
  readonly rootMs: number;
  readonly issuingMs: number;
  readonly configMs: number;
  readonly serverMs: number;
  readonly nodeMs: number;
  readonly workloadMs: number;
  readonly backdateMs: number;
}

export const defaultLifetimes: Lifetimes = {
  rootMs: 3650 * dayMs,
  issuingMs: 365 * dayMs,
  configMs: 365 * dayMs,
  serverMs: 90 * dayMs,
  nodeMs: 30 * dayMs,
  workloadMs: 24 * hourMs,
  backdateMs: 5 * minuteMs,
};

/** The defaults with `chosen` over them; throws INVALID_INPUT for one that is no whole number of seconds or more. */
export function checkedLifetimes(chosen: Partial<Lifetimes> = {}): Lifetimes {
  for (const [name, value] of Object.entries(chosen)) {
    const least = name === 'backdateMs' ? 0 : 1000;
    if (!(Number.isSafeInteger(value) && value >= least)) {
      throw new MesoliteError('INVALID_INPUT', `${name}: expected a whole number of at least ${least}, got ${value}`);
    }
  }
  return { ...defaultLifetimes, ...chosen };
}

export type Validity = Pick<CertificateTemplate, 'notBefore' | 'notAfter'>;

/** When a new authority is valid: never beyond `end`, that of its issuer. */
export function validityOf(
  now: number,
  name: 'rootMs' | 'issuingMs' | 'configMs',
  chosen: Partial<Lifetimes> | undefined,
  end: number = Number.POSITIVE_INFINITY,
): Validity {
  const lifetimes = checkedLifetimes(chosen);
  return { notBefore: now - lifetimes.backdateMs, notAfter: Math.min(now + lifetimes[name], end) };
}
