import { type Cidr, contains, matchesText, parseCidr, parseTextMatch, type TextMatch } from '../base/match.ts';
import type { Scope } from './attributes.ts';
import type { Field } from './fields.ts';
import { isPathTemplate } from './path-template.ts';
import { parsePath } from './patterns.ts';

// Which values one pattern matches, compared with those of another. `false` always means: not for certain.

/** A value of a field, as far as it can be compared with others of the same attribute. */
export interface ValueSet {
  /** Two of one text, read in one scope, are the same set. */
  readonly id: string;
  readonly kind: 'text' | 'template' | 'block' | 'opaque';
  readonly text?: TextMatch | undefined;
  readonly template?: string | undefined;
  readonly block?: Cidr | undefined;
}

/** An attribute that may have several values at once, of which one has to match. */
export function isMultiple({ attribute }: Field): boolean {
  return attribute.reading === 'claims';
}

export function valueSetOf(field: Field, value: string, scope: Scope): ValueSet {
  const id = field.key === 'source.serviceAccount' && !value.includes('/') ? `${scope.namespace}/${value}` : value;
  if (field.key === 'path' && isPathTemplate(value)) return { id, kind: 'template', template: value };
  if (field.key.endsWith('.ip')) {
    const block = parseCidr(value);
    return 'reason' in block ? { id, kind: 'opaque' } : { id, kind: 'block', block };
  }
  const [text] = textsOf(field, value, scope);
  return text === undefined ? { id, kind: 'opaque' } : { id, kind: 'text', text };
}

function textsOf({ key, attribute }: Field, value: string, scope: Scope): readonly TextMatch[] {
  // the index does not look these up
  if (/^request\.auth\.(claims|audiences|presenter)/.test(key)) return [parseTextMatch(value)];
  return attribute.patterns([value], scope) ?? [];
}

/** Is everything that `narrow` matches matched by `wide` too? */
export function includes(wide: ValueSet, narrow: ValueSet): boolean {
  if (wide.id === narrow.id && wide.kind === narrow.kind) return true;
  if (wide.block !== undefined && narrow.block !== undefined) {
    return wide.block.bits <= narrow.block.bits && contains(wide.block, narrow.block.base);
  }
  if (wide.template !== undefined) return narrow.text?.kind === 'exact' && templateMatches(wide, narrow.text.text);
  if (wide.text === undefined) return false;
  if (narrow.template !== undefined) return includesTemplate(wide.text, narrow.template);
  return narrow.text !== undefined && includesText(wide.text, narrow.text);
}

function includesText(wide: TextMatch, narrow: TextMatch): boolean {
  switch (wide.kind) {
    case 'present':
      return narrow.kind === 'present' || narrow.text !== '';
    case 'exact':
      return narrow.kind === 'exact' && narrow.text === wide.text;
    case 'prefix':
      // a header or host of `*` takes whatever is there
      if (wide.text === '') return true;
      return (narrow.kind === 'exact' || narrow.kind === 'prefix') && narrow.text.startsWith(wide.text);
    case 'suffix':
      return (narrow.kind === 'exact' || narrow.kind === 'suffix') && narrow.text.endsWith(wide.text);
    default:
      return wide.kind satisfies never;
  }
}

/** A template begins and ends with what stands before its first and behind its last operator. */
function includesTemplate(wide: TextMatch, template: string): boolean {
  if (wide.kind === 'present') return true;
  if (wide.kind === 'prefix') return template.slice(0, template.indexOf('{')).startsWith(wide.text);
  return wide.kind === 'suffix' && template.slice(template.lastIndexOf('}') + 1).endsWith(wide.text);
}

function templateMatches({ template = '' }: ValueSet, text: string): boolean {
  const pattern = parsePath(template);
  return pattern instanceof RegExp && pattern.test(text);
}

/** Does nothing match both? */
export function excludes(a: ValueSet, b: ValueSet): boolean {
  if (a.block !== undefined && b.block !== undefined) {
    return !contains(a.block, b.block.base) && !contains(b.block, a.block.base);
  }
  if (a.template !== undefined) return b.text?.kind === 'exact' && !templateMatches(a, b.text.text);
  if (b.template !== undefined) return excludes(b, a);
  if (a.text === undefined || b.text === undefined) return false;
  return excludesText(a.text, b.text);
}

function excludesText(a: TextMatch, b: TextMatch): boolean {
  if (a.kind === 'exact') return !matchesText(b, a.text);
  if (b.kind === 'exact') return !matchesText(a, b.text);
  if (a.kind !== b.kind || a.kind === 'present') return false;
  if (a.kind === 'prefix') return !a.text.startsWith(b.text) && !b.text.startsWith(a.text);
  return !a.text.endsWith(b.text) && !b.text.endsWith(a.text);
}
