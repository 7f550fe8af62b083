import type * as v from 'valibot';
import { errorAnswerSchema } from '../../model/api.ts';

/** A route's schema with the shape of every answer that is not 2xx. */
export function answers<T extends object>(summary: string, ok: v.GenericSchema, more: T) {
  return { summary, ...more, response: { 200: ok, '4xx': errorAnswerSchema, '5xx': errorAnswerSchema } };
}

/** Who may call. */
export const open = { config: { access: 'public' } } as const;
export const reader = { config: { access: 'reader' } } as const;
export const admin = { config: { access: 'admin' } } as const;
