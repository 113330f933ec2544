// Instances of the protocols over any bucket.

import { toError } from './error.js';
import { wasi } from './wasi.js';

/**
 * Turns what jco generated, and its compiled modules, into `open`.
 *
 * @param {(getCoreModule: any, imports: any) => any} instantiate
 * @param {(path: string) => WebAssembly.Module | Promise<WebAssembly.Module>} getCoreModule
 */
export function opener(instantiate, getCoreModule) {
  return async function open(/** @type {any} */ { bucket, deletion }) {
    if (typeof (/** @type {any} */ (WebAssembly).Suspending) !== 'function') {
      throw new TypeError(
        'this host lacks WebAssembly.Suspending (JSPI): node from 24 on, workerd of 2026 and Chromium from 137 on have it',
      );
    }
    const root = await instantiate(getCoreModule, {
      ...wasi(),
      'ifmatch:bucket/bucket': bucket,
      'ifmatch:bucket/deletion': deletion,
      'ifmatch:bucket/types': {},
    });
    // jco gives every interface under two names; the short one suffices.
    const names = Object.keys(root).filter((name) => !name.includes(':'));
    return Object.fromEntries(names.map((name) => [name, wrap(root[name])]));
  };
}

/** Gives every function of an interface errors that JavaScript understands. */
function wrap(/** @type {Record<string, (...args: any[]) => any>} */ exported) {
  const wrapped = Object.entries(exported).map(([name, call]) => [
    name,
    async (/** @type {any[]} */ ...args) => {
      try {
        return await call(...args);
      } catch (thrown) {
        throw toError(thrown);
      }
    },
  ]);
  return Object.fromEntries(wrapped);
}
