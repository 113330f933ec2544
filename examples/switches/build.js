// Makes `target/switches/switches.wasm` of `src/app.js`, composes it with
// `ifmatch.wasm`, and makes JavaScript of that, to run it in node.

import { execFileSync } from 'node:child_process';
import { cp, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { componentize } from '@bytecodealliance/componentize-js';
import { transpile } from '@bytecodealliance/jco-transpile';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '../..');
const target = join(root, 'target/switches');
const ifmatch = join(root, 'target/components/ifmatch.wasm');
const guest = join(target, 'switches.wasm');
const app = join(target, 'switches-app.wasm');

/** Whether `made` is younger than everything that it is made of. */
async function isNew(made, sources) {
  const time = async (file) => (await stat(file).catch(() => undefined))?.mtimeMs ?? 0;
  const times = await Promise.all(sources.map(time));
  return (await time(made)) > Math.max(...times);
}

const sources = ['src/app.js', 'wit/switches.wit', 'build.js'].map((file) => join(here, file));
const contract = join(root, 'wit/protocols');
if (!(await isNew(guest, [...sources, join(contract, 'manifest.wit')]))) {
  const wit = join(target, 'wit');
  await rm(wit, { recursive: true, force: true });
  await mkdir(join(wit, 'deps'), { recursive: true });
  await cp(join(here, 'wit'), wit, { recursive: true });
  await cp(contract, join(wit, 'deps/protocols'), { recursive: true });
  const { component } = await componentize({
    sourcePath: join(here, 'src/app.js'),
    witPath: wit,
    worldName: 'app',
    // It needs nothing of a host: what it imports are the protocols alone.
    disableFeatures: ['random', 'stdio', 'clocks', 'http', 'fetch-event'],
  });
  await writeFile(guest, component);
}

if (!(await isNew(app, [guest, ifmatch]))) {
  const cargo = process.env.CARGO ?? 'cargo';
  const words = ['xtask', 'compose', guest, ifmatch, '--output', app];
  execFileSync(cargo, words, { cwd: root, stdio: 'inherit' });
  const { files } = await transpile(app, { name: 'switches', instantiation: 'async', outDir: '' });
  const folder = join(target, 'js');
  await rm(folder, { recursive: true, force: true });
  await mkdir(join(folder, 'interfaces'), { recursive: true });
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }\n');
}
