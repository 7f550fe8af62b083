import type { TaskView } from '../../../src/model/api.ts';
import { type Board, isRunning } from './board.ts';
import { patiently } from './guest.ts';

/** A task that says each second which process it is: whatever befalls the others, and the agent, it is to go on. */
export class Counter {
  readonly #board: Board;
  readonly task: TaskView;

  private constructor(board: Board, task: TaskView) {
    this.#board = board;
    this.task = task;
  }

  static async start(board: Board): Promise<Counter> {
    const command = ['sh', '-c', 'while :; do echo $$; sleep 1; done'];
    return new Counter(board, await board.task('counter', { command }, isRunning));
  }

  /** Waits for more of it; resolves to the process that says it. */
  async goesOn(): Promise<string> {
    const file = this.#board.logOf(this.task);
    const lines = async () => Number(await this.#board.text(`wc -l < ${file}`));
    const before = await lines();
    await patiently('the counter goes on', async () => ((await lines()) > before + 1 ? true : undefined));
    return this.#board.text(`tail -n 1 ${file}`);
  }
}
