// Compiled modules in node.

import { readFile } from 'node:fs/promises';

/**
 * What jco generated in a folder, each module compiled once per process.
 *
 * @param {URL} folder
 */
export function compiler(folder) {
  /** @type {Map<string, Promise<WebAssembly.Module>>} */
  const compiled = new Map();
  return (/** @type {string} */ path) => {
    let module = compiled.get(path);
    if (!module) {
      module = readFile(new URL(path, folder)).then((bytes) => WebAssembly.compile(bytes));
      compiled.set(path, module);
    }
    return module;
  };
}
