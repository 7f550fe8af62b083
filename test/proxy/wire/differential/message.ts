/** A message as a parser understood it. */
export interface Read {
  /** `METHOD target` of a request, the status of a response. */
  readonly start: string;
  readonly minor: number;
  /** Names and values in turns, as they came, without the blanks around a value. */
  readonly fields: readonly string[];
  /** Bytes of the body without its framing. */
  bodyBytes: number;
  /** The whole body is there. */
  isWhole: boolean;
}

/** What a parser made of a stream of bytes. */
export interface Reading {
  readonly messages: readonly Read[];
  /** Why it read no further; undefined when it would read on. */
  readonly refusal: string | undefined;
}
