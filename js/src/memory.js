// `ifmatch:bucket` in memory, for tests and for showing what the protocols do. It
// forgets everything when the page or process ends.

import { BATCH_MAX, KEYS_MAX, checkCount, checkKey, invalid } from './keys.js';

/** @import { Page, PutOutcome, Read, Reply, Result, Write } from '../generated/interfaces/ifmatch-bucket-bucket.js' */
/** @import { Metadata } from '../generated/interfaces/ifmatch-bucket-types.js' */

/**
 * A bucket whose calls return at once, so that it serves synchronous and
 * asynchronous instances alike.
 *
 * @param {{ now?: () => number }} [options] the store's clock, in milliseconds
 * @returns {import('./index.d.ts').Bucket & { keys(): string[] }}
 */
export function memoryBucket({ now = () => Date.now() } = {}) {
  /** @type {Map<string, { etag: string, body: Uint8Array, modifiedAt: bigint }>} */
  const objects = new Map();
  let writes = 0;

  const time = () => BigInt(Math.floor(now()));
  /** @type {(key: string) => Metadata} */
  const metadata = (key) => {
    const { etag, body, modifiedAt } = /** @type {any} */ (objects.get(key));
    return { key, version: { token: etag }, size: BigInt(body.length), modifiedAt };
  };

  /**
   * @param {Read} read
   * @returns {Reply}
   */
  function get({ key, span, unless }) {
    checkKey(key);
    if (span.tag === 'first' && span.val === 0) throw invalid('first(0)');
    const observedAt = time();
    const object = objects.get(key);
    if (!object) return { found: { tag: 'absent' }, observedAt };
    if (unless?.token === object.etag) return { found: { tag: 'unchanged' }, observedAt };
    const body = object.body.slice(0, span.tag === 'first' ? span.val : undefined);
    return { found: { tag: 'object', val: { metadata: metadata(key), body } }, observedAt };
  }

  /**
   * @param {Write} write
   * @returns {PutOutcome}
   */
  function put({ key, body, precondition }) {
    checkKey(key);
    const etag = objects.get(key)?.etag;
    const holds =
      precondition.tag === 'absent' ? etag === undefined : etag === precondition.val.token;
    if (!holds) return { tag: 'precondition-failed' };
    writes += 1;
    const modifiedAt = time();
    // A copy: the caller's memory may change or go away.
    objects.set(key, { etag: `v${writes}`, body: body.slice(), modifiedAt });
    return {
      tag: 'written',
      val: { version: { token: `v${writes}` }, observedAt: modifiedAt },
    };
  }

  /**
   * @param {string} prefix
   * @param {string | undefined} startAfter
   * @param {number} limit
   * @returns {Page}
   */
  function listObjects(prefix, startAfter, limit) {
    if (limit < 1 || limit > KEYS_MAX) throw invalid(`limit ${limit}`);
    const keys = [...objects.keys()]
      .filter((key) => key.startsWith(prefix) && key > (startAfter ?? ''))
      .sort();
    return {
      objects: keys.slice(0, limit).map(metadata),
      more: keys.length > limit,
      observedAt: time(),
    };
  }

  /**
   * @template T, R
   * @param {T[]} items
   * @param {(item: T) => R} call
   * @returns {Result<R, any>[]}
   */
  function each(items, call) {
    checkCount(items.length, BATCH_MAX);
    return items.map((item) => {
      try {
        return { tag: 'ok', val: call(item) };
      } catch (/** @type {any} */ thrown) {
        if (typeof thrown?.tag !== 'string') throw thrown;
        return { tag: 'err', val: thrown };
      }
    });
  }

  return {
    bucket: {
      get,
      getMany: (reads) => each(reads, get),
      put,
      putMany: (writes) => each(writes, put),
      listObjects,
    },
    deletion: {
      deleteMany(keys) {
        checkCount(keys.length, KEYS_MAX);
        keys.forEach(checkKey);
        keys.forEach((key) => objects.delete(key));
      },
    },
    /** The keys that exist, in order. */
    keys: () => [...objects.keys()].sort(),
  };
}
