/** One thing that was looked at on a node. */
export interface Finding {
  readonly check: string;
  /** `failure`: the agent cannot work so; `warning`: it can, with less; `note`: known of boards like this. */
  readonly state: 'ok' | 'note' | 'warning' | 'failure';
  /** What was seen, a sentence. */
  readonly what: string;
  /** What mends it. */
  readonly fix?: string;
}
