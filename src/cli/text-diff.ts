import { createTwoFilesPatch } from 'diff';
import { stringify } from 'yaml';
import { describeDocument, type OperatorDocument } from '../model/document.ts';
import type { MeshDocuments } from './mesh-documents.ts';

/** One document that differs between two states of a mesh. */
export interface DocumentChange {
  readonly document: string;
  readonly change: 'added' | 'changed' | 'removed';
  /** Unified, of the documents as YAML with all defaults written out and fields in one order. */
  readonly diff: string;
}

/** What differs, by name. */
export function changesBetween(before: MeshDocuments, after: MeshDocuments): DocumentChange[] {
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  return names.flatMap(document => {
    const [old, fresh] = [before.get(document), after.get(document)];
    const [oldText, freshText] = [textOf(old), textOf(fresh)];
    if (oldText === freshText) return [];
    const change = old === undefined ? 'added' : fresh === undefined ? 'removed' : 'changed';
    return [{ document, change, diff: patch(nameOf(old ?? fresh), oldText, freshText) }];
  });
}

function nameOf(document: OperatorDocument | undefined): string {
  return document === undefined ? '' : describeDocument(document).replace(' ', '/');
}

function textOf(document: OperatorDocument | undefined): string {
  if (document === undefined) return '';
  // what nobody wrote, and says nothing
  const filled = Object.entries(document.metadata).filter(
    ([, value]) => typeof value !== 'object' || Object.keys(value).length > 0,
  );
  const written = { ...document, metadata: Object.fromEntries(filled) };
  return stringify(written, { sortMapEntries: true, aliasDuplicateObjects: false });
}

function patch(name: string, before: string, after: string): string {
  return createTwoFilesPatch(`a/${name}`, `b/${name}`, before, after, '', '', { context: 3 })
    .split('\n')
    .filter(line => !/^=+$/.test(line))
    .map(line => line.replace(/^(---|\+\+\+) (\S+)\t?$/, '$1 $2'))
    .join('\n')
    .trimEnd();
}
