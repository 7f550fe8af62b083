import * as v from 'valibot';

/** A whole number as it stands in a query. */
export const wholeText = v.pipe(v.string(), v.regex(/^\d{1,15}$/, 'expected a whole number'), v.transform(Number));
