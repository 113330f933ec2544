// Turns the composed acceptance script into JavaScript, for every host that runs
// it through jco.

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transpile } from '@bytecodealliance/jco-transpile';

const SCRIPT = 'ifmatch:acceptance/script@0.1.0';
const FUNCTIONS = ['run', 'contend', 'audit', 'measure', 'probe'];
const BUCKET = ['get', 'get-many', 'put', 'put-many', 'list-objects'];

/** What hosts whose calls give promises add, so that the script waits for them. */
const WAITING = {
  asyncMode: 'jspi',
  asyncWasiImports: true,
  asyncImports: [
    ...BUCKET.map((call) => `ifmatch:bucket/bucket@0.1.0#${call}`),
    'ifmatch:bucket/deletion@0.1.0#delete-many',
  ],
  asyncExports: FUNCTIONS.map((call) => `${SCRIPT}#${call}`),
};

/**
 * Generates JavaScript for a component in `target/hosts/js/NAME`, and returns that
 * folder.
 *
 * @param {string} name
 * @param {string} component
 * @param {{ waits: boolean }} options whether calls of the host give promises
 */
export async function transpiled(name, component, { waits }) {
  const folder = fileURLToPath(new URL(`../../target/hosts/js/${name}`, import.meta.url));
  const { files } = await transpile(component, {
    name: 'script',
    instantiation: 'async',
    nodejsCompat: false,
    wasiShim: false,
    base64Cutoff: 0,
    emitTypescriptDeclarations: false,
    outDir: '',
    ...(waits && WAITING),
  });
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const modules = Object.keys(files).filter((file) => file.endsWith('.wasm'));
  for (const file of modules) await writeFile(join(folder, file), files[file]);
  const script = new TextDecoder().decode(files['script.js']);
  await writeFile(join(folder, 'script.js'), script);
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }\n');
  await writeForWorkers(folder, script, modules);
  return folder;
}

/**
 * Workers compile no WebAssembly at run time: a module comes by an import. jco
 * writes one small module into the JavaScript of a composed component; here it is a
 * file like the others.
 */
async function writeForWorkers(folder, script, modules) {
  const inline = /new WebAssembly\.Module\(new Uint8Array\(\[([^\]]*)\]\)\)/g;
  const inlined = [...script.matchAll(inline)];
  let head = '';
  for (const [index, [, bytes]] of inlined.entries()) {
    const numbers = bytes.split(',').map((byte) => byte.trim()).filter(Boolean);
    await writeFile(join(folder, `inline${index}.wasm`), Uint8Array.from(numbers, Number));
    head += `import inline${index} from './inline${index}.wasm';\n`;
  }
  let count = 0;
  const code = script.replace(inline, () => `inline${count++}`);
  await writeFile(join(folder, 'workers.js'), head + code);

  const imports = modules.map((file, index) => `import m${index} from './${file}';\n`);
  const entries = modules.map((file, index) => `  '${file}': m${index},\n`);
  await writeFile(
    join(folder, 'modules.js'),
    `${imports.join('')}export const modules = {\n${entries.join('')}};\n`,
  );
}

/** Compiles the core modules of a folder, each once, for node. */
export function compiler(folder) {
  const compiled = new Map();
  return (file) => {
    if (!compiled.has(file)) {
      const bytes = readFile(join(folder, basename(file)));
      compiled.set(file, bytes.then((content) => WebAssembly.compile(content)));
    }
    return compiled.get(file);
  };
}

/** The functions of the script in an instance. */
export const scriptOf = (instance) => instance[SCRIPT];
