// In the page: every call of the script in an instance of its own, over one bucket
// in the page's memory.

import { instantiate } from '/script/script.js';
import { memoryBucket } from '/ifmatch/memory.js';
import { wasi } from '/ifmatch/wasi.js';

const { bucket, deletion } = memoryBucket();
const compiled = new Map();

function getCoreModule(name) {
  if (!compiled.has(name)) {
    compiled.set(name, WebAssembly.compileStreaming(fetch(`/script/${name}`)));
  }
  return compiled.get(name);
}

/** A request that takes a moment, so that others come in between. */
const later = (/** @type {Function} */ call) => async (...args) => {
  await scheduler.postTask(() => {});
  return call(...args);
};
const distant = (calls) =>
  Object.fromEntries(Object.entries(calls).map(([name, call]) => [name, later(call)]));

/** Calls a function of the script. */
globalThis.call = async (name, args) => {
  const instance = await instantiate(getCoreModule, {
    ...wasi(),
    'ifmatch:bucket/bucket': distant(bucket),
    'ifmatch:bucket/deletion': distant(deletion),
    'ifmatch:bucket/types': {},
  });
  try {
    return { value: await instance['ifmatch:acceptance/script@0.1.0'][name](...args) };
  } catch (thrown) {
    return { error: thrown?.payload ?? String(thrown?.stack ?? thrown) };
  }
};
