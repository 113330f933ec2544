// Cloudflare Workers in workerd, through jco: over `fetch`, or on an R2 binding.
// `serve.js fetch|r2 COMPONENT PORT FOLDER`, with the settings in the environment.
// Every call is a request, and every request an instance.

import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { transpiled } from '../js/transpile.js';
import { start } from '../js/wrangler.js';

const [route, component, port, folder] = process.argv.slice(2);
process.once('SIGTERM', () => process.exit());

await transpiled(route, component, { waits: true });
const settings = Object.entries(process.env).filter(([name]) => /^(AWS|IFMATCH)_/.test(name));
// Over `fetch`, a Worker has settings; with R2, only a binding, which is left out
// where the setting of that meaning is.
const bound = route === 'fetch' || process.env.IFMATCH_BUCKET !== undefined;
await start(fileURLToPath(new URL(bound ? `${route}.jsonc` : `${route}-unbound.jsonc`, import.meta.url)), {
  state: join(folder, 'state'),
  port: Number(port),
  vars: route === 'fetch' ? Object.fromEntries(settings) : {},
});
