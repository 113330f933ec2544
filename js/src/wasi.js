// The three WASI interfaces that `protocols.wasm` imports: a clock, a way to
// wait, and randomness. Nothing else of the host is within its reach.

const NS_PER_MS = 1_000_000n;

/** A point in time that can be waited for. */
class Pollable {
  #due;

  /** @param {number} due on the clock of `performance.now()` */
  constructor(due) {
    this.#due = due;
  }

  ready() {
    return performance.now() >= this.#due;
  }

  async block() {
    const left = this.#due - performance.now();
    // Workers stop their clock while code runs, so even an overdue wait has to
    // let go of the thread once.
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, left)));
  }
}

/**
 * The imports for an asynchronous instance.
 *
 * Random bits come from the host at each call, never from a generator that a copy
 * of the instance would share.
 */
export function wasi() {
  return {
    'wasi:clocks/monotonic-clock': {
      now: () => BigInt(Math.round(performance.now() * 1e6)),
      /** @param {bigint} ns */
      subscribeDuration: (ns) => new Pollable(performance.now() + Number(ns / NS_PER_MS)),
    },
    'wasi:io/poll': { Pollable },
    'wasi:random/random': {
      getRandomU64: () => crypto.getRandomValues(new BigUint64Array(1))[0],
    },
  };
}
