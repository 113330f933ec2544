// The protocols through `open`: on R2, in memory, and on an R2 that loses answers.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { IfmatchError, open } from 'ifmatch';
import { open as openLog } from 'ifmatch/log';
import { memoryBucket } from 'ifmatch/memory';
import { r2Bucket } from 'ifmatch/r2';
import { bytes, r2, text, wrapped } from './bucket.js';

let binding;
let dispose;

before(async () => ({ binding, dispose } = await r2()));
after(() => dispose());

const SHARED = { writer: { tag: 'shared' } };
const LIMIT = { records: 1000, bytes: 1 << 20 };

async function append(log, name, body, options = SHARED) {
  const outcome = await log.append(name, [bytes(body)], options);
  assert.equal(outcome.tag, 'appended', String(outcome.val));
  return outcome.val.start;
}

async function records(log, name) {
  const outcome = await log.read(name, { offset: 0n }, LIMIT);
  assert.equal(outcome.tag, 'records');
  return outcome.val.entries.map(({ body }) => text(body));
}

for (const [store, bucket] of [
  ['R2', () => r2Bucket(binding, { prefix: 'protocols' })],
  ['memory', memoryBucket],
]) {
  test(`${store}: instances race on one log, and nothing is lost or doubled`, async () => {
    const shared = bucket();
    const writers = Array.from({ length: 8 }, (_, index) => `writer-${index}`);
    const offsets = await Promise.all(
      writers.map(async (writer) => append((await open(shared)).log, 'race', writer)),
    );
    const { log } = await open(shared);
    const found = await records(log, 'race');
    assert.deepEqual([...found].sort(), writers);
    writers.forEach((writer, index) => assert.equal(found[Number(offsets[index])], writer));
  });

  test(`${store}: the log alone is the log of the whole`, async () => {
    const shared = bucket();
    const [part, whole] = [await openLog(shared), await open(shared)];
    assert.deepEqual(Object.keys(part).sort(), ['lease', 'log', 'receipts']);
    await append(part.log, 'both', 'one');
    await append(whole.log, 'both', 'two');
    assert.deepEqual(await records(part.log, 'both'), ['one', 'two']);
  });

  test(`${store}: a lease changes hands, and the token fences the old holder`, async () => {
    const shared = bucket();
    const [one, two] = [await open(shared), await open(shared)];
    const request = (holder) => ({ holder, durationMs: 5000, note: '' });
    const first = await one.lease.acquire('leader', request('one'));
    assert.equal(first.tag, 'acquired');
    const refused = await two.lease.acquire('leader', request('two'));
    assert.equal(refused.tag, 'held');
    assert.equal(refused.val.holder, 'one');
    assert.equal((await one.lease.release(first.val, undefined)).tag, 'released');
    const second = await two.lease.acquire('leader', request('two'));
    assert.equal(second.tag, 'acquired');
    assert.ok(second.val.token.epoch > first.val.token.epoch);
    const fenced = ({ token }) => ({ writer: { tag: 'fenced', val: token } });
    await append(two.log, 'led', 'by two', fenced(second.val));
    const late = await one.log.append('led', [bytes('by one')], fenced(first.val));
    assert.deepEqual(late, { tag: 'fenced', val: second.val.token });
    assert.deepEqual(await records(two.log, 'led'), ['by two']);
  });
}

test('every second answer of R2 lost: each record is in the log once', async () => {
  let puts = 0;
  const lossy = wrapped(binding, 'put', async (put, ...args) => {
    const result = await put(...args);
    puts += 1;
    if (puts % 2 === 0) throw new Error('Network connection lost.');
    return result;
  });
  const { log } = await open(r2Bucket(lossy, { prefix: 'lossy' }));
  const bodies = Array.from({ length: 10 }, (_, index) => `record ${index}`);
  for (const body of bodies) await append(log, 'lossy', body);
  assert.ok(puts >= 10);
  assert.deepEqual(await records(log, 'lossy'), bodies);
});

test('R2 refuses a key for a while: the append waits and succeeds', async () => {
  let refusals = 0;
  const throttled = wrapped(binding, 'put', (put, ...args) => {
    if (refusals === 0) return put(...args);
    refusals -= 1;
    throw new Error('put: Reduce your concurrent request rate for the same object. (10058)');
  });
  const { log } = await open(r2Bucket(throttled, { prefix: 'throttled' }));
  // The first append checks the bucket besides.
  assert.equal(await append(log, 'throttled', 'early'), 0n);
  refusals = 2;
  assert.equal(await append(log, 'throttled', 'late'), 1n);
  assert.equal(refusals, 0);
});

test('errors have a code, and say what R2 said', async () => {
  const denied = wrapped(binding, 'list', async () => {
    throw new Error('list: Access denied. (10003)');
  });
  const { log } = await open(r2Bucket(denied));
  const error = await log.tail('denied').then(assert.fail, (thrown) => thrown);
  assert.ok(error instanceof IfmatchError);
  assert.equal(error.code, 'access-denied');
  assert.match(error.message, /Access denied/);
  const wrong = await log.tail('WRONG').then(assert.fail, (thrown) => thrown);
  assert.equal(wrong.code, 'invalid-argument');
});

test('a batch is appended once, even if another instance repeats it', async () => {
  const shared = memoryBucket();
  const once = { ...SHARED, producer: { id: 'p', sequence: 0n, startedAt: 0n } };
  const offset = await append((await open(shared)).log, 'once', 'a', once);
  const { log, receipts } = await open(shared);
  assert.equal(await append(log, 'once', 'a', once), offset);
  assert.deepEqual(await records(log, 'once'), ['a']);
  assert.ok((await receipts.take()).gets > 0);
});
