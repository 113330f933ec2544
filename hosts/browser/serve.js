// A page in Chromium, through jco, with a bucket in its memory. `serve.js COMPONENT
// PORT`.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launch } from '../js/chromium.js';
import { listen } from '../js/listen.js';
import { transpiled } from '../js/transpile.js';

const [component, port] = process.argv.slice(2);
const here = fileURLToPath(new URL('.', import.meta.url));
const library = fileURLToPath(new URL('.', import.meta.resolve('ifmatch/memory')));
const script = await transpiled('browser', component, { waits: true });
const TYPES = { js: 'text/javascript', wasm: 'application/wasm', html: 'text/html' };

const browser = await launch();
process.once('SIGTERM', async () => {
  await browser.close();
  process.exit();
});
const page = await browser.newPage();
// The page's files, which need no server.
await page.route('http://page.test/**', async (route) => {
  const [, folder, file] = new URL(route.request().url()).pathname.split('/');
  const folders = { script, ifmatch: library, page: here };
  const path = file && join(folders[folder], file);
  const body = path
    ? await readFile(path)
    : '<!doctype html><script type="module" src="/page/page.js"></script>';
  await route.fulfill({ body, contentType: TYPES[(path ?? '.html').split('.').pop()] });
});
await page.goto('http://page.test/');
await page.waitForFunction('globalThis.call');

listen(Number(port), async (name, args) => {
  const { value, error } = await page.evaluate(
    ([name, args]) => globalThis.call(name, args),
    [name, args],
  );
  if (error !== undefined) throw error;
  return value;
});
