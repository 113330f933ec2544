// Instances of the finished application in node, with the settings of the environment.

import { readFile } from 'node:fs/promises';
import { WASIShim } from '@bytecodealliance/preview2-shim/instantiation';
import { instantiate } from '../../target/switches/js/switches.js';

const compiled = new Map();

function getCoreModule(name) {
  if (!compiled.has(name)) {
    const url = new URL(`../../target/switches/js/${name}`, import.meta.url);
    compiled.set(name, readFile(url).then((bytes) => WebAssembly.compile(bytes)));
  }
  return compiled.get(name);
}

// What jco generates looks imports up without their versions.
const imports = Object.fromEntries(
  Object.entries(new WASIShim().getImportObject()).map(([key, value]) => [key.split('@')[0], value]),
);

/** The functions of one instance. It shares nothing with others but the bucket. */
export async function instance() {
  return (await instantiate(getCoreModule, imports)).switches;
}
