// One instance of the script, for one call.

import { parentPort, workerData } from 'node:worker_threads';
import { WASIShim } from '@bytecodealliance/preview2-shim/instantiation';
import { compiler, scriptOf } from '../js/transpile.js';

const { folder, name, args } = workerData;
const { instantiate } = await import(`${folder}/script.js`);

// What jco generates looks imports up without their versions.
const shim = new WASIShim().getImportObject();
const imports = Object.fromEntries(
  Object.entries(shim).map(([key, value]) => [key.split('@')[0], value]),
);
const script = scriptOf(await instantiate(compiler(folder), imports));
let answer;
try {
  answer = { value: script[name](...args) };
} catch (thrown) {
  answer = { error: thrown?.payload ?? thrown };
}
parentPort.postMessage(answer);
