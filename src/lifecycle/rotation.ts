/**
 * When a certificate is due for renewal, all in milliseconds since 1970: at two thirds of its life, or
 * up to a tenth of its life earlier by `jitter` in [0, 1), so that a fleet that joined together does not renew together.
 */
export function rotationDueAt(notBefore: number, notAfter: number, jitter: number): number {
  return notBefore + Math.round((notAfter - notBefore) * (2 / 3 - jitter / 10));
}

/** Is it time to renew? Also true of what has expired. */
export function shouldRotate(notBefore: number, notAfter: number, now: number, jitter: number): boolean {
  return now >= rotationDueAt(notBefore, notAfter, jitter);
}
