import type { Clock } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { onAbort } from '../base/signal.ts';
import type { LogChunk } from '../model/message.ts';
import type { LogQuery } from './api/face.ts';
import { masterTimes } from './config.ts';
import { cutTail, type TimedText } from './log-tail.ts';
import type { Outgoing } from './outgoing.ts';

const maxOpenQuestions = 64;
/** No answer is longer, in characters: what an agent reads of a log at most, with room to spare. */
const maxAnswerLength = 256 * 1024;

/** Asks a node for the end of a task's output and waits for its answer. */
export interface Logs {
  /** Throws TIMED_OUT when the node does not answer, NOT_FOUND with its reason, UNAVAILABLE when too many wait already or nobody waits any more. */
  ask(node: string, query: LogQuery, signal: AbortSignal): Promise<string>;
  onChunk(node: string, chunk: LogChunk): void;
}

interface Question {
  readonly node: string;
  readonly pieces: TimedText[];
  length: number;
  settle(error?: MesoliteError): void;
}

export function makeLogs(parts: {
  readonly outgoing: Pick<Outgoing, 'ask'>;
  readonly clock: Clock;
  readonly newId: () => string;
}): Logs {
  const { outgoing, clock, newId } = parts;
  const questions = new Map<string, Question>();

  function open(id: string, node: string, query: LogQuery, signal: AbortSignal): Promise<string> {
    return new Promise((resolve, reject) => {
      const late = new MesoliteError('TIMED_OUT', `node ${node} did not answer: it may be offline`);
      const cancelTimer = clock.after(masterTimes.logAnswerMs, () => question.settle(late));
      const forget = onAbort(signal, () => question.settle(late));
      const question: Question = {
        node,
        pieces: [],
        length: 0,
        settle(error) {
          if (!questions.delete(id)) return;
          cancelTimer();
          forget();
          if (error === undefined) resolve(cutTail(question.pieces, query));
          else reject(error);
        },
      };
      questions.set(id, question);
    });
  }

  return {
    async ask(node, query, signal) {
      if (signal.aborted) throw new MesoliteError('UNAVAILABLE', 'nobody waits for the log any more');
      if (questions.size >= maxOpenQuestions) throw new MesoliteError('UNAVAILABLE', 'too many logs are being read');
      const id = newId();
      const answer = open(id, node, query, signal);
      const { task, stream, tailBytes } = query;
      await Promise.all([answer, outgoing.ask(node, { what: 'log', id, task, stream, tailBytes })]);
      return answer;
    },
    onChunk(node, { id, data, at, end, error }) {
      const question = questions.get(id);
      if (question === undefined || question.node !== node) return;
      question.pieces.push({ text: data, at });
      question.length += data.length;
      if (error !== undefined) question.settle(new MesoliteError('NOT_FOUND', error));
      else if (question.length > maxAnswerLength) question.settle(tooLong(node));
      else if (end) question.settle();
    },
  };
}

function tooLong(node: string): MesoliteError {
  return new MesoliteError('TOO_LARGE', `node ${node} says more than ${maxAnswerLength} characters of a log`);
}
