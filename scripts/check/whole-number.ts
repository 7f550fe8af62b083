/** A number that an option gives; throws when it is none above 0. */
export function wholeNumber(text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1) throw new Error(`expected a whole number above 0, got ${text}`);
  return number;
}
