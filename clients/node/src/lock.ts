/** Lets one caller in after another. */
export class Lock {
  #isTaken = false;
  readonly #waiting: (() => void)[] = [];

  /** Runs work when all that came before is over. It must not wait for the same lock. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isTaken) {
      await new Promise<void>((enter) => this.#waiting.push(enter));
    }
    this.#isTaken = true;
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  /** Hands the lock to the next caller, so that nobody comes between. */
  #leave(): void {
    const enter = this.#waiting.shift();
    if (enter) {
      enter();
    } else {
      this.#isTaken = false;
    }
  }
}
