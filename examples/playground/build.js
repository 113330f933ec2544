// Makes one page of everything: `node build.js [COMPONENT]` writes
// `target/playground/index.html`, which needs no server and no network.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { build as bundle } from 'esbuild';
import { build as generate } from '../../js/build.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const target = join(here, '../../target');
const component = process.argv[2] ?? join(target, 'components/protocols.wasm');

// The bucket is in memory and answers at once, so nothing has to wait: this runs in
// every browser.
const folder = join(target, 'playground');
await generate(component, join(folder, 'generated'), { sync: true });

const { outputFiles } = await bundle({
  entryPoints: [join(here, 'src/main.js')],
  alias: { generated: join(folder, 'generated') },
  loader: { '.wasm': 'binary' },
  bundle: true,
  minify: true,
  format: 'esm',
  write: false,
});
const [style, page] = await Promise.all(
  ['style.css', 'index.html'].map((name) => readFile(join(here, 'src', name), 'utf8')),
);
// The end of a script element must not occur in it.
const script = outputFiles[0].text.replaceAll('</script', '<\\/script');
const html = page
  .replace('<link rel="stylesheet" href="style.css">', () => `<style>\n${style}</style>`)
  .replace('<script type="module" src="main.js"></script>', () => `<script type="module">${script}</script>`);
await mkdir(folder, { recursive: true });
await writeFile(join(folder, 'index.html'), html);
console.log(`${join(folder, 'index.html')}: open it in a browser`);
