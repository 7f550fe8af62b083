import * as v from 'valibot';
import { sha256Schema } from './artifact.ts';

/** Of the script that makes machines nodes, as a master serves it to those who call it by one name. */
export const installerSchema = v.object({ sha256: sha256Schema });
