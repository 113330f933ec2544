// Generates the JavaScript for the protocols with jco.
//
// `node build.js [COMPONENT FOLDER] [--sync]`; by default the built components of this
// checkout: `protocols.wasm` into `generated/`, `protocols-log.wasm` into
// `generated/log/`. A component stays as it is: its core modules are only cut out of
// it. With `--sync`, calls of the bucket return when they are done, which needs no JSPI.

import { mkdir, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transpile } from '@bytecodealliance/jco-transpile';
import { transform } from 'esbuild';

const OPTIONS = {
  name: 'protocols',
  instantiation: 'async',
  nodejsCompat: false,
  wasiShim: false,
  base64Cutoff: 0,
  outDir: '',
};
/** Imports that a host may answer with a promise. */
const PROMISES = ['ifmatch:bucket/bucket', 'ifmatch:bucket/deletion'];
const BLOCK = 'wasi:io/poll@0.2.0#[method]pollable.block';

/** Generates the module, its core modules and its types. */
export async function build(component, folder, { sync = false } = {}) {
  let { files, exports } = await transpile(component, OPTIONS);
  if (!sync) {
    const names = exports.map(([name]) => name).filter((name) => name.includes(':'));
    const version = names[0].split('@')[1];
    const calls = (name) => functions(files, name).map((call) => `${name}#${call}`);
    ({ files } = await transpile(component, {
      ...OPTIONS,
      asyncMode: 'jspi',
      asyncExports: names.flatMap(calls),
      asyncImports: [...PROMISES.flatMap((name) => calls(`${name}@${version}`)), BLOCK],
    }));
  }
  await rm(folder, { recursive: true, force: true });
  await mkdir(join(folder, 'interfaces'), { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(folder, name), name.endsWith('.js') ? await shorten(content) : content);
  }
}

/** The functions of an interface, as WIT names them. */
function functions(files, name) {
  const file = name.split('@')[0].replace(/[:/]/g, '-');
  // An interface that the component does without has none.
  const types = new TextDecoder().decode(files[`interfaces/${file}.d.ts`]);
  return [...types.matchAll(/^export function (\w+)\(/gm)].map(([, call]) =>
    call.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
  );
}

/** jco's output without the names and traces that only its authors need. */
async function shorten(content) {
  const traces = /const _debugLog = \(\.\.\.args\) => \{[^}]*\}\s*console\.debug\(\.\.\.args\);\s*\};/;
  // A function that does nothing: the calls of it go, too.
  const silent = new TextDecoder().decode(content).replace(traces, 'function _debugLog() {}');
  const { code } = await transform(silent, { minify: true });
  return code;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const words = process.argv.slice(2).filter((word) => !word.startsWith('--'));
  const here = fileURLToPath(new URL('.', import.meta.url));
  const built = (name) => join(here, '../target/components', name);
  const all = [
    [built('protocols.wasm'), join(here, 'generated')],
    [built('protocols-log.wasm'), join(here, 'generated/log')],
  ];
  for (const [component, folder] of words.length > 0 ? [words] : all) {
    await build(component, folder, { sync: process.argv.includes('--sync') });
    console.log(`${basename(component)} -> ${folder}`);
  }
}
