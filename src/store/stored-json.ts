import type * as v from 'valibot';
import { type Bounds, decodeJson } from '../base/shape.ts';

/** What one JSON column may hold; whatever was let in at a door of the system is smaller. */
const storedBounds: Bounds = { maxBytes: 8 * 1024 * 1024, maxDepth: 32 };

/** Decodes a JSON column; throws INVALID_INPUT naming the column when the database was tampered with. */
export function readJson<S extends v.GenericSchema>(schema: S, text: string, column: string): v.InferOutput<S> {
  return decodeJson(schema, text, `stored ${column}`, storedBounds);
}
