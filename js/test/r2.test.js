// The port on R2: what it promises, against the R2 of workerd; and what it makes of
// every way in which R2 fails, which is given to it by a wrapped binding.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { r2Bucket } from 'ifmatch/r2';
import { absent, bytes, first, matches, r2, text, whole, wrapped } from './bucket.js';

let binding;
let dispose;
/** A prefix of its own for each test. */
let prefix;
let tests = 0;

before(async () => ({ binding, dispose } = await r2()));
after(() => dispose());
beforeEach(() => (prefix = `t${(tests += 1)}`));

const open = (r2 = binding, options = {}) => r2Bucket(r2, { prefix, ...options }).bucket;
const write = (key, body, precondition = absent) => ({ key, body: bytes(body), precondition });
const versionOf = (outcome) => (assert.equal(outcome.tag, 'written'), outcome.val.version);
/** What a call throws, as the port's error. */
const errorOf = (call) => call.then((value) => assert.fail(JSON.stringify(value)), (thrown) => thrown);
const failing = (method, message) =>
  wrapped(binding, method, async () => {
    throw new Error(message);
  });

describe('what the port promises', () => {
  test('a create takes effect once', async () => {
    const bucket = open();
    versionOf(await bucket.put(write('a', 'one')));
    assert.deepEqual(await bucket.put(write('a', 'two')), { tag: 'precondition-failed' });
    assert.equal(text((await bucket.get(whole('a'))).found.val.body), 'one');
  });

  test('one of 16 creates at once wins', async () => {
    const bucket = open();
    const writes = Array.from({ length: 16 }, (_, index) => write('a', `body ${index}`));
    const outcomes = await Promise.all(writes.map((one) => bucket.put(one)));
    const winners = outcomes.flatMap((outcome, index) => (outcome.tag === 'written' ? [index] : []));
    assert.equal(winners.length, 1);
    assert.equal(text((await bucket.get(whole('a'))).found.val.body), `body ${winners[0]}`);
  });

  test('a replace needs the current version', async () => {
    const bucket = open();
    const v1 = versionOf(await bucket.put(write('a', 'one')));
    const v2 = versionOf(await bucket.put(write('a', 'two', matches(v1))));
    assert.notEqual(v1.token, v2.token);
    assert.equal((await bucket.put(write('a', 'three', matches(v1)))).tag, 'precondition-failed');
    assert.equal((await bucket.put(write('b', 'none', matches(v1)))).tag, 'precondition-failed');
  });

  test('a version is never a pattern or a header', async () => {
    const bucket = open();
    await bucket.put(write('a', 'one'));
    for (const token of ['*', '"x"', '', 'x\n', 'x'.repeat(201)]) {
      const error = await errorOf(bucket.put(write('a', 'two', matches({ token }))));
      assert.equal(error.tag, 'invalid-argument', token);
      const unless = await errorOf(bucket.get({ ...whole('a'), unless: { token } }));
      assert.equal(unless.tag, 'invalid-argument', token);
    }
    assert.equal(text((await bucket.get(whole('a'))).found.val.body), 'one');
  });

  test('reads: absent, whole, the first bytes, unchanged', async () => {
    const bucket = open();
    assert.deepEqual((await bucket.get(whole('a'))).found, { tag: 'absent' });
    const version = versionOf(await bucket.put(write('a', 'hello')));
    const { found, observedAt } = await bucket.get(whole('a'));
    assert.equal(text(found.val.body), 'hello');
    assert.deepEqual(found.val.metadata.version, version);
    assert.equal(found.val.metadata.size, 5n);
    assert.ok(observedAt - found.val.metadata.modifiedAt < 60_000n);
    const start = await bucket.get(first('a', 2));
    assert.equal(text(start.found.val.body), 'he');
    assert.equal(start.found.val.metadata.size, 5n);
    assert.equal(text((await bucket.get(first('a', 99))).found.val.body), 'hello');
    assert.deepEqual((await bucket.get({ ...whole('a'), unless: version })).found, { tag: 'unchanged' });
    versionOf(await bucket.put(write('a', 'other', matches(version))));
    assert.equal(text((await bucket.get({ ...whole('a'), unless: version })).found.val.body), 'other');
  });

  test('an empty object is an object', async () => {
    const bucket = open();
    versionOf(await bucket.put(write('a', '')));
    assert.equal((await bucket.get(whole('a'))).found.val.body.length, 0);
    assert.equal((await bucket.get(first('a', 9))).found.val.body.length, 0);
  });

  test('listings are in order, in pages, and under the prefix only', async () => {
    const bucket = open();
    const keys = ['a/1', 'a/10', 'a/2', 'b/1'];
    for (const key of keys) await bucket.put(write(key, key));
    await r2Bucket(binding, { prefix: `${prefix}0` }).bucket.put(write('a/0', 'of another'));
    const page = await bucket.listObjects('a/', undefined, 2);
    assert.deepEqual(page.objects.map(({ key }) => key), ['a/1', 'a/10']);
    assert.equal(page.more, true);
    const next = await bucket.listObjects('a/', 'a/10', 2);
    assert.deepEqual(next.objects.map(({ key }) => key), ['a/2']);
    assert.equal(next.more, false);
    assert.deepEqual((await bucket.listObjects('', undefined, 1000)).objects.map(({ key }) => key), keys);
    assert.deepEqual((await bucket.listObjects('c', undefined, 9)).objects, []);
  });

  test('entries of a batch succeed and fail by themselves, in order', async () => {
    const bucket = open();
    const written = await bucket.putMany([write('a', 'one'), write('..', 'x'), write('b', 'two')]);
    assert.deepEqual(written.map(({ tag }) => tag), ['ok', 'err', 'ok']);
    const read = await bucket.getMany([whole('b'), whole('a//b'), whole('none')]);
    assert.equal(text(read[0].val.found.val.body), 'two');
    assert.equal(read[1].val.tag, 'invalid-argument');
    assert.deepEqual(read[2].val.found, { tag: 'absent' });
    const many = Array.from({ length: 65 }, () => whole('a'));
    assert.equal((await errorOf(bucket.getMany(many))).tag, 'invalid-argument');
  });

  test('deletes take many keys, and absent ones', async () => {
    const { bucket, deletion } = r2Bucket(binding, { prefix });
    await bucket.put(write('a', 'one'));
    await deletion.deleteMany(['a', 'none']);
    await deletion.deleteMany([]);
    assert.deepEqual((await bucket.get(whole('a'))).found, { tag: 'absent' });
  });

  test('keys that are none are refused', async () => {
    const bucket = open();
    for (const key of ['', '/a', 'a/', 'a//b', '.', 'a/../b', 'ä', 'a b', 'a'.repeat(513)]) {
      assert.equal((await errorOf(bucket.put(write(key, 'x')))).tag, 'invalid-argument', key);
    }
    versionOf(await bucket.put(write('a.b/..c/d=_-', 'x')));
  });

  test('nothing larger than the limits is written or held', async () => {
    versionOf(await open().put(write('a', 'x'.repeat(600))));
    versionOf(await open().put(write('b', 'x'.repeat(600))));
    const small = open(binding, { maxObjectBytes: 500 });
    const tooLarge = { tag: 'too-large', val: 500n };
    assert.deepEqual(await errorOf(small.put(write('c', 'x'.repeat(501)))), tooLarge);
    assert.deepEqual(await errorOf(small.get(whole('a'))), tooLarge);
    assert.equal((await small.get(first('a', 500))).found.val.body.length, 500);
    const batch = open(binding, { maxBatchBytes: 1000 });
    const both = await batch.getMany([whole('a'), whole('b')]);
    assert.deepEqual(both.map(({ tag }) => tag).sort(), ['err', 'ok']);
  });
});

describe('a write that R2 does not answer with a result', () => {
  test('applied, and the answer lost: indeterminate', async () => {
    const lost = wrapped(binding, 'put', async (put, ...args) => {
      await put(...args);
      throw new Error('Network connection lost.');
    });
    const outcome = await open(lost).put(write('a', 'one'));
    assert.deepEqual(outcome, { tag: 'indeterminate', val: 'Network connection lost.' });
    assert.equal(text((await open().get(whole('a'))).found.val.body), 'one');
  });

  test('an internal error says nothing about the write', async () => {
    for (const message of [
      'put: We encountered an internal error. Please try again. (10001)',
      'put: Service temporarily unavailable. (10043)',
      'put: Client disconnected. (10054)',
      'put: Unspecified error (0)',
      'anything else',
    ]) {
      const outcome = await open(failing('put', message)).put(write('a', 'one'));
      assert.equal(outcome.tag, 'indeterminate', message);
    }
  });

  test('a failed condition that comes as an exception is a lost race', async () => {
    const message = 'put: At least one of the pre-conditions you specified did not hold. (10031)';
    const outcome = await open(failing('put', message)).put(write('a', 'one'));
    assert.deepEqual(outcome, { tag: 'precondition-failed' });
  });

  test('no answer at all is indeterminate, in bounded time', async () => {
    const silent = wrapped(binding, 'put', () => new Promise(() => {}));
    const outcome = await open(silent, { requestTimeoutMs: 50 }).put(write('a', 'one'));
    assert.equal(outcome.tag, 'indeterminate');
    assert.match(outcome.val, /within 50 ms/);
  });

  test('it is sent once, whatever happens', async () => {
    let sent = 0;
    const counting = wrapped(binding, 'put', async () => {
      sent += 1;
      throw new Error('Network connection lost.');
    });
    await open(counting).put(write('a', 'one'));
    assert.equal(sent, 1);
  });
});

describe('errors that say that nothing was applied', () => {
  const cases = [
    ['Reduce your concurrent request rate for the same object. (10058)', 'throttled', 1000],
    ['Access denied. (10003)', 'access-denied', /10003/],
    ['Please enable R2. (10042)', 'access-denied', /subscription/],
    ['The specified bucket does not exist. (10006)', 'no-such-bucket', /bucket_name in r2_buckets/],
    ['Your object is too large. (100100)', 'too-large', BigInt(32 << 20)],
    ['Too many subrequests by single Worker invocation.', 'misconfigured', /limits\.subrequests/],
    ['The body broke off. (10013)', 'unavailable', /10013/],
  ];
  for (const [message, tag, value] of cases) {
    test(`${tag}: ${message}`, async () => {
      for (const [method, call] of [
        ['put', (bucket) => bucket.put(write('a', 'one'))],
        ['get', (bucket) => bucket.get(whole('a'))],
        ['list', (bucket) => bucket.listObjects('', undefined, 1)],
      ]) {
        const error = await errorOf(call(open(failing(method, `${method}: ${message}`))));
        assert.equal(error.tag, tag);
        if (value instanceof RegExp) assert.match(error.val, value);
        else assert.equal(error.val, value);
      }
    });
  }

  test('a read that fails otherwise is unavailable, never absent', async () => {
    const error = await errorOf(open(failing('get', 'get: internal (10001)')).get(whole('a')));
    assert.equal(error.tag, 'unavailable');
    const { deletion } = r2Bucket(failing('delete', 'delete: internal (10001)'));
    assert.equal((await errorOf(deletion.deleteMany(['a']))).tag, 'unavailable');
  });
});

describe('answers that must not be believed', () => {
  test('a body that is shorter than the object', async () => {
    const short = wrapped(binding, 'get', async () => ({
      size: 9,
      etag: 'x',
      uploaded: new Date(),
      body: {},
      arrayBuffer: async () => new ArrayBuffer(3),
    }));
    assert.equal((await errorOf(open(short).get(whole('a')))).tag, 'unavailable');
  });

  test('a listing out of order, outside the prefix or before its start', async () => {
    const object = (key) => ({ key: `${prefix}/${key}`, size: 1, etag: 'x', uploaded: new Date() });
    const listed = (keys) =>
      open(wrapped(binding, 'list', async () => ({ objects: keys.map(object), truncated: false })));
    assert.equal((await errorOf(listed(['b', 'a']).listObjects('', undefined, 9))).tag, 'unsupported');
    assert.equal((await errorOf(listed(['a', 'a']).listObjects('', undefined, 9))).tag, 'unsupported');
    assert.equal((await errorOf(listed(['b']).listObjects('a', undefined, 9))).tag, 'unsupported');
    assert.equal((await errorOf(listed(['a']).listObjects('', 'a', 9))).tag, 'unsupported');
    assert.equal((await listed(['a', 'b']).listObjects('', undefined, 9)).objects.length, 2);
  });

  test('empty pages that have a successor are followed, within bounds', async () => {
    let pages = 0;
    const empty = wrapped(binding, 'list', async (list, options) => {
      pages += 1;
      if (pages < 3) return { objects: [], truncated: true, cursor: `c${pages}` };
      assert.equal(options.cursor, 'c2');
      return { objects: [], truncated: false };
    });
    assert.deepEqual((await open(empty).listObjects('', undefined, 9)).objects, []);
    const endless = wrapped(binding, 'list', async () => ({ objects: [], truncated: true, cursor: 'c' }));
    assert.equal((await errorOf(open(endless).listObjects('', undefined, 9))).tag, 'unavailable');
  });
});

test('a Worker without the binding is told what to configure', () => {
  assert.throws(() => r2Bucket(undefined), /r2_buckets of the wrangler configuration/);
});

test('no clock, no time', async () => {
  const bucket = open(binding, { now: () => undefined });
  assert.equal((await bucket.get(whole('a'))).observedAt, undefined);
});
