// What the exceptions of an R2 binding mean.
//
// R2 puts its error code in parentheses at the end of the message:
// https://developers.cloudflare.com/r2/api/error-codes/

/** How long to wait after a 429: R2 takes one write per second and key. */
const THROTTLED_MS = 1000;

/** @typedef {import('../../generated/interfaces/ifmatch-bucket-types.js').Error} PortError */

/** The error code at the end of an R2 message, or 0. */
export function codeOf(/** @type {any} */ thrown) {
  const code = /\((\d{5,6})\)\s*$/.exec(String(thrown?.message ?? thrown));
  return code ? Number(code[1]) : 0;
}

export const INVALID_RANGE = 10039;
export const PRECONDITION_FAILED = 10031;

/**
 * An exception that says by itself that nothing was applied, as an error of the
 * port; otherwise `undefined`: the request may have reached R2, and may have been
 * carried out.
 *
 * @param {any} thrown
 * @param {number} maxBytes
 * @returns {PortError | undefined}
 */
export function refusal(thrown, maxBytes) {
  const text = textOf(thrown);
  switch (codeOf(thrown)) {
    case 10058: // TooManyRequests
      return { tag: 'throttled', val: THROTTLED_MS };
    case 10002: // Unauthorized
    case 10003: // AccessDenied
    case 10035: // SignatureDoesNotMatch
      return { tag: 'access-denied', val: text };
    case 10042: // NotEntitled
      return { tag: 'access-denied', val: `${text}: the account has no R2 subscription` };
    case 10069: // ObjectLockedByBucketPolicy
      return { tag: 'access-denied', val: `${text}: the bucket has a lock rule for this key` };
    case 10005: // InvalidBucketName
    case 10006: // NoSuchBucket
      return {
        tag: 'no-such-bucket',
        val: `${text}: look at bucket_name in r2_buckets of the wrangler configuration`,
      };
    case 10020: // InvalidObjectName
      return { tag: 'invalid-argument', val: text };
    case 10013: // IncompleteBody
    case 10037: // BadDigest
      return { tag: 'unavailable', val: text };
    case 100100: // EntityTooLarge
      return { tag: 'too-large', val: BigInt(maxBytes) };
  }
  // The runtime counts before it sends anything.
  if (/too many subrequests/i.test(text)) {
    return {
      tag: 'misconfigured',
      val: `${text}: raise limits.subrequests in the wrangler configuration, or do less in one request`,
    };
  }
  return undefined;
}

/** What a failed read means: nothing was changed, so doubt is only unavailability. */
export function readError(/** @type {any} */ thrown, /** @type {number} */ maxBytes) {
  return refusal(thrown, maxBytes) ?? { tag: 'unavailable', val: textOf(thrown) };
}

/** At most 200 characters of a message, on one line. */
export function textOf(/** @type {any} */ thrown) {
  return String(thrown?.message ?? thrown).replace(/[\x00-\x1f\x7f]+/g, ' ').slice(0, 200);
}
