// `ifmatch:bucket` on a Cloudflare R2 binding.
//
// Every guarantee rests on `onlyIf` of R2's `put`: `etagDoesNotMatch: '*'` creates,
// `etagMatches` replaces, and `null` is a lost race. A binding never repeats a
// write by itself, and neither does this module: an exception that does not say
// that nothing was applied makes the write `indeterminate`, and the protocols look
// before they decide anything.

import { BATCH_MAX, KEYS_MAX, checkCount, checkKey, invalid } from '../keys.js';
import { INVALID_RANGE, PRECONDITION_FAILED, codeOf, readError, refusal, textOf } from './errors.js';
import { overlap, within } from './in-flight.js';

/** @import { Page, PutOutcome, Read, Reply, Result, Write } from '../../generated/interfaces/ifmatch-bucket-bucket.js' */
/** @import { Metadata, Version } from '../../generated/interfaces/ifmatch-bucket-types.js' */

/** Workers open six connections at once; further requests wait for one of them. */
const IN_FLIGHT_MAX = 6;
/** Pages of R2 that one page of ours may take while they are empty. */
const LIST_ATTEMPTS_MAX = 16;
const DEFAULTS = {
  prefix: '',
  maxObjectBytes: 32 << 20,
  maxBatchBytes: 48 << 20,
  requestTimeoutMs: 30_000,
  now: () => Date.now(),
};

/**
 * Provides the port on an R2 binding. One per request, or one for all: it keeps no
 * state.
 *
 * @param {import('@cloudflare/workers-types').R2Bucket} r2 such as `env.BUCKET`
 * @param {import('../index.d.ts').R2Options} [options]
 * @returns {import('../index.d.ts').Bucket}
 */
export function r2Bucket(r2, options = {}) {
  if (typeof r2?.put !== 'function') {
    throw new TypeError(
      'there is no R2 binding: name it in r2_buckets of the wrangler configuration, and pass env.<binding>',
    );
  }
  const settings = { ...DEFAULTS, ...options };
  if (settings.prefix !== '') {
    settings.prefix = settings.prefix.replace(/\/?$/, '/');
    checkKey(settings.prefix.slice(0, -1));
  }
  const { prefix, maxObjectBytes, maxBatchBytes, requestTimeoutMs, now } = settings;

  /** One request, in bounded time. */
  const ask = (/** @type {() => Promise<any>} */ request) => within(request(), requestTimeoutMs);

  /** Where the platform's clock stands: that of R2 is only told with objects. */
  const observedAt = () => {
    const ms = now();
    return ms === undefined ? undefined : BigInt(Math.floor(ms));
  };

  /**
   * Reads one object within `budget`, the bytes that this call may still hold.
   *
   * @param {Read} wanted
   * @param {{ left: number }} budget
   * @returns {Promise<Reply>}
   */
  async function read({ key, span, unless }, budget) {
    checkKey(key);
    const first = span.tag === 'first' ? span.val : undefined;
    if (first === 0) throw invalid('first(0)');
    /** @type {any} */
    const conditions = unless ? { onlyIf: { etagDoesNotMatch: etagOf(unless) } } : {};
    const get = (/** @type {any} */ range) => ask(() => r2.get(prefix + key, { ...conditions, ...range }));
    let object;
    try {
      object = await get(first === undefined ? {} : { range: { offset: 0, length: first } });
    } catch (thrown) {
      // Nothing of an empty object is in any range. R2 says so (10039); that of
      // Miniflare fails without a code.
      const code = codeOf(thrown);
      if (first === undefined || (code !== INVALID_RANGE && code !== 0)) throw thrown;
      const head = await ask(() => r2.head(prefix + key));
      if (head?.size !== 0) throw thrown;
      object = await get({});
    }
    const at = observedAt();
    if (object === null) return { found: { tag: 'absent' }, observedAt: at };
    // R2 gives an object without a body if the condition does not hold.
    if (typeof object.arrayBuffer !== 'function') return { found: { tag: 'unchanged' }, observedAt: at };

    const expected = Math.min(object.size, first ?? Infinity);
    const limit = Math.min(maxObjectBytes, budget.left);
    if (expected > limit) {
      await object.body.cancel();
      throw { tag: 'too-large', val: BigInt(expected > maxObjectBytes ? maxObjectBytes : maxBatchBytes) };
    }
    budget.left -= expected;
    let body = new Uint8Array(await ask(() => object.arrayBuffer()));
    if (body.length < expected) {
      throw { tag: 'unavailable', val: `${key}: the body broke off` };
    }
    // Whole, where R2 did not take the range.
    body = body.subarray(0, expected);
    return {
      found: { tag: 'object', val: { metadata: metadata(key, object), body } },
      observedAt: at,
    };
  }

  async function get(/** @type {Read} */ wanted, budget = { left: maxBatchBytes }) {
    try {
      return await read(wanted, budget);
    } catch (thrown) {
      throw isPortError(thrown) ? thrown : readError(thrown, maxObjectBytes);
    }
  }

  /**
   * @param {Write} write
   * @returns {Promise<PutOutcome>}
   */
  async function put({ key, body, precondition }) {
    checkKey(key);
    if (body.length > maxObjectBytes) throw { tag: 'too-large', val: BigInt(maxObjectBytes) };
    // The condition is what closes the race between two writers that both saw the
    // key absent, or both saw the same version.
    const onlyIf =
      precondition.tag === 'absent'
        ? { etagDoesNotMatch: '*' }
        : { etagMatches: etagOf(precondition.val) };
    let object;
    try {
      object = await ask(() => r2.put(prefix + key, body, { onlyIf }));
    } catch (thrown) {
      if (codeOf(thrown) === PRECONDITION_FAILED) return { tag: 'precondition-failed' };
      const refused = refusal(thrown, maxObjectBytes);
      if (refused) throw refused;
      return { tag: 'indeterminate', val: textOf(thrown) };
    }
    if (object === null) return { tag: 'precondition-failed' };
    return {
      tag: 'written',
      val: { version: { token: object.etag }, observedAt: timeOf(object) },
    };
  }

  /**
   * @param {string} within
   * @param {string | undefined} startAfter
   * @param {number} limit
   * @returns {Promise<Page>}
   */
  async function listObjects(within, startAfter, limit) {
    if (limit < 1 || limit > KEYS_MAX) throw invalid(`limit ${limit}`);
    try {
      /** @type {any} */
      let from = startAfter === undefined ? {} : { startAfter: prefix + startAfter };
      for (let attempt = 0; attempt < LIST_ATTEMPTS_MAX; attempt += 1) {
        const page = await ask(() => r2.list({ prefix: prefix + within, limit, ...from }));
        const at = observedAt();
        if (page.objects.length > 0 || !page.truncated) {
          const objects = page.objects.map((/** @type {any} */ object) =>
            metadata(object.key.slice(prefix.length), object),
          );
          checkOrder(objects, within, startAfter);
          return { objects, more: page.truncated, observedAt: at };
        }
        from = { cursor: page.cursor };
      }
    } catch (thrown) {
      throw isPortError(thrown) ? thrown : readError(thrown, maxObjectBytes);
    }
    throw { tag: 'unavailable', val: `${LIST_ATTEMPTS_MAX} pages of the listing were empty` };
  }

  async function deleteMany(/** @type {string[]} */ keys) {
    checkCount(keys.length, KEYS_MAX);
    keys.forEach(checkKey);
    if (keys.length === 0) return;
    try {
      await ask(() => r2.delete(keys.map((key) => prefix + key)));
    } catch (thrown) {
      throw readError(thrown, maxObjectBytes);
    }
  }

  return {
    bucket: {
      get: (wanted) => get(wanted),
      getMany: async (reads) => {
        checkCount(reads.length, BATCH_MAX);
        const budget = { left: maxBatchBytes };
        return overlap(reads, IN_FLIGHT_MAX, (wanted) => settled(get(wanted, budget)));
      },
      put,
      putMany: async (writes) => {
        checkCount(writes.length, BATCH_MAX);
        return overlap(writes, IN_FLIGHT_MAX, (write) => settled(put(write)));
      },
      listObjects,
    },
    deletion: { deleteMany },
  };
}

/**
 * The outcome of one entry of a batch, which fails by itself.
 *
 * @template T
 * @param {Promise<T>} call
 * @returns {Promise<Result<T, any>>}
 */
async function settled(call) {
  try {
    return { tag: 'ok', val: await call };
  } catch (thrown) {
    if (!isPortError(thrown)) throw thrown;
    return { tag: 'err', val: thrown };
  }
}

/** Whether something thrown is an error of the port already. */
function isPortError(/** @type {any} */ thrown) {
  return typeof thrown?.tag === 'string';
}

/** `*` would match every version, and R2 refuses quotes with an exception. */
function etagOf(/** @type {Version} */ { token }) {
  if (!/^[\x21\x23-\x29\x2b-\x7e]{1,200}$/.test(token)) throw invalid('not a version of this store');
  return token;
}

/**
 * @param {string} key
 * @param {any} object
 * @returns {Metadata}
 */
function metadata(key, object) {
  return {
    key,
    version: { token: object.etag },
    size: BigInt(object.size),
    modifiedAt: timeOf(object),
  };
}

/** When R2 accepted an object, by its own clock. */
function timeOf(/** @type {any} */ object) {
  return BigInt(object.uploaded.getTime());
}

/** The newest object is found by order, so a listing without it is of no use. */
function checkOrder(
  /** @type {{ key: string }[]} */ objects,
  /** @type {string} */ prefix,
  /** @type {string | undefined} */ startAfter,
) {
  let last = startAfter;
  for (const { key } of objects) {
    // Keys are ASCII, so the order of UTF-16 units is that of bytes.
    if (!key.startsWith(prefix) || (last !== undefined && key <= last)) {
      throw { tag: 'unsupported', val: 'the listing is not in ascending order of key' };
    }
    last = key;
  }
}
