// Cloudflare Workers in workerd, through jco: over `fetch`, or on an R2 binding.
// `serve.js fetch|r2 COMPONENT PORT FOLDER`, with the settings in the environment.
// Every call is a request, and every request an instance.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { unstable_startWorker } from 'wrangler';
import { SCRIPT_ERROR } from '../js/front.js';
import { listen } from '../js/listen.js';
import { transpiled } from '../js/transpile.js';

const [route, component, port, folder] = process.argv.slice(2);
await transpiled(route, component, { waits: true });

// Over `fetch`, a Worker has settings. With R2 it has a binding, which is left out
// where the setting of that meaning is.
const bound = route === 'fetch' || process.env.IFMATCH_BUCKET !== undefined;
const settings = Object.entries(process.env).filter(([name]) => /^(AWS|IFMATCH)_/.test(name));
const texts = settings.map(([name, value]) => [name, { type: 'plain_text', value }]);
const worker = await unstable_startWorker({
  config: fileURLToPath(new URL(bound ? `${route}.jsonc` : `${route}-unbound.jsonc`, import.meta.url)),
  bindings: route === 'fetch' ? Object.fromEntries(texts) : {},
  dev: {
    server: { hostname: '127.0.0.1', port: 0 },
    inspector: false,
    persist: join(folder, 'state'),
    logLevel: 'error',
    watch: false,
  },
});
process.once('SIGTERM', async () => {
  await worker.dispose();
  process.exit();
});

const { origin } = await worker.url;
listen(Number(port), async (name, args) => {
  const words = [name, ...args].map((word) => String(word).replaceAll('/', ':'));
  // Not GET: wrangler's own proxy may send that twice.
  const answer = await fetch(`${origin}/${words.join('/')}`, { method: 'POST' });
  const text = await answer.text();
  if (answer.status === SCRIPT_ERROR) throw text;
  if (!answer.ok) throw new Error(text);
  return text;
});
