// The entry for node.

import { readFile } from 'node:fs/promises';
import { instantiate } from '../generated/protocols.js';
import { opener } from './open.js';

/** @type {Map<string, Promise<WebAssembly.Module>>} */
const compiled = new Map();

/** Compiles each module once per process. */
function getCoreModule(/** @type {string} */ path) {
  let module = compiled.get(path);
  if (!module) {
    const url = new URL(`../generated/${path}`, import.meta.url);
    module = readFile(url).then((bytes) => WebAssembly.compile(bytes));
    compiled.set(path, module);
  }
  return module;
}

export const open = opener(instantiate, getCoreModule);
export { IfmatchError } from './error.js';
