// The composed application in node: three instances over one store.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { start } from '../store.js';

let stop = () => {};
let instance;

before(async () => {
  if (!process.env.IFMATCH_BUCKET) stop = await start();
  ({ instance } = await import('../instance.js'));
});
after(() => stop());

const as = (name, position) => ({ name, position });

test('anybody proposes, one applies, everybody reads the same', async () => {
  const [anna, ben, carl] = [await instance(), await instance(), await instance()];
  assert.deepEqual(carl.current(), { version: 0n, switches: [] });
  assert.equal(anna.propose(as('dark-mode', 'on')), 0n);
  assert.equal(ben.propose(as('search', 'new')), 1n);
  assert.equal(ben.propose(as('dark-mode', 'automatic')), 2n);
  assert.deepEqual(carl.current().switches, [], 'a proposal is not in force');

  assert.deepEqual(anna.apply('anna'), { tag: 'proposals', val: 3 });
  assert.deepEqual(ben.apply('ben'), { tag: 'led-by', val: 'anna' });
  const first = carl.current();
  assert.deepEqual(
    first.switches.sort((one, two) => one.name.localeCompare(two.name)),
    [as('dark-mode', 'automatic'), as('search', 'new')],
  );

  assert.deepEqual(anna.apply('anna'), { tag: 'proposals', val: 0 }, 'nothing is applied twice');
  assert.equal(carl.current().version, first.version);
  ben.propose(as('search', 'old'));
  assert.deepEqual(anna.apply('anna'), { tag: 'proposals', val: 1 });
  const second = ben.current();
  assert.equal(second.version, first.version + 1n);
  assert.deepEqual(second.switches.find(({ name }) => name === 'search'), as('search', 'old'));
});

test('an error of the protocols arrives as text', async () => {
  const anna = await instance();
  assert.throws(
    () => anna.apply(''),
    (thrown) => /invalid-argument/.test(thrown.payload ?? thrown),
  );
});
