// Errors of the protocols, as JavaScript throws them.

/**
 * Why a call failed. A write that failed has certainly not been applied.
 *
 * `code` is the case of the WIT variant, such as `access-denied`, and `value` what
 * it carries: a text, or for `throttled` the milliseconds to wait.
 */
export class IfmatchError extends Error {
  /** @param {{ tag: string, val?: unknown }} payload */
  constructor({ tag, val }) {
    super(val === undefined ? tag : `${tag}: ${val}`);
    this.name = 'IfmatchError';
    this.code = tag;
    this.value = val;
  }
}

/**
 * Makes an error of what a generated export threw. Anything that is no case of the
 * WIT variant, such as a trap, stays what it was.
 *
 * @param {any} thrown
 */
export function toError(thrown) {
  const payload = thrown?.payload ?? thrown;
  return typeof payload?.tag === 'string' ? new IfmatchError(payload) : thrown;
}
