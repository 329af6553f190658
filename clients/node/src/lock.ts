/** Lets one caller in after another. */
export class Lock {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs work when all that came before is over. It must not wait for the same lock. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work, work);
    this.#last = mine.catch(() => {});
    return mine;
  }
}
