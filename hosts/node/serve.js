// node, through jco, over wasi:http. `serve.js COMPONENT PORT`, with the settings in
// the environment.
//
// Calls of a host are synchronous here: every instance has a thread of its own, which
// waits while another one sends its requests.

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { listen } from '../js/listen.js';
import { transpiled } from '../js/transpile.js';

const [component, port] = process.argv.slice(2);
const folder = await transpiled('node', component, { waits: false });

listen(Number(port), async (name, args) => {
  const thread = new Worker(new URL('./instance.js', import.meta.url), {
    workerData: { folder, name, args },
  });
  const [{ value, error }] = await once(thread, 'message');
  await thread.terminate();
  if (error !== undefined) throw error;
  return value;
});
