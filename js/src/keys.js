// What the port allows as keys and sizes of calls.

const KEY = /^(?=.{1,512}$)(?!.*(?:^|\/)\.{0,2}(?:\/|$))[A-Za-z0-9._=\-/]+$/;

/** Objects of one `get-many` or `put-many`. */
export const BATCH_MAX = 64;
/** Keys of one page or one `delete-many`. */
export const KEYS_MAX = 1000;

/** @returns {{ tag: 'invalid-argument', val: string }} */
export const invalid = (/** @type {string} */ val) => ({ tag: 'invalid-argument', val });

/** Throws unless `key` is a key of the port. */
export function checkKey(/** @type {string} */ key) {
  if (!KEY.test(key)) throw invalid(`not a key: ${JSON.stringify(key.slice(0, 600))}`);
}

/** Throws unless a call is about 0 to `max` things. */
export function checkCount(/** @type {number} */ count, /** @type {number} */ max) {
  if (count > max) throw invalid(`${count} at once, at most ${max}`);
}
