/**
 * Runs the test files that are its arguments in one process. `MESOLITE_CASES` bounds the cases of a property that does not say how many it
 * wants: what a processor computes otherwise shows in few.
 */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';

const numRuns = Number(process.env.MESOLITE_CASES ?? 100);
fc.configureGlobal({ numRuns });
// out of the arguments: tap would name the directories of tests after all of them
for (const file of process.argv.splice(2)) await import(pathToFileURL(resolve(file)).href);
