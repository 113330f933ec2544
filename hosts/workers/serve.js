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
await start(fileURLToPath(new URL(`${route}.jsonc`, import.meta.url)), {
  state: join(folder, 'state'),
  port: Number(port),
  // The binding is all that a Worker with R2 has.
  vars: route === 'fetch' ? Object.fromEntries(settings) : {},
});
