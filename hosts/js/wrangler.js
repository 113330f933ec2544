// `wrangler dev`, as a user runs it, for as long as a test takes.

import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const manifest = createRequire(import.meta.url).resolve('wrangler/package.json');
const START_MS = 60_000;

/** Which runtime it starts. */
export const workerdVersion = () => createRequire(manifest)('workerd/package.json').version;

/**
 * Starts the Worker of a configuration on a port, or on any that is free, and waits
 * until it answers.
 *
 * @param {string} config the path of the wrangler configuration
 * @param {{ state: string, port?: number, vars?: Record<string, string> }} options
 *   where it keeps its buckets, and what the Worker finds in `env`
 */
export async function start(config, { state, port, vars = {} }) {
  const at = port ?? (await freePort());
  const words = ['dev', '--config', config, '--ip', '127.0.0.1', '--port', String(at)];
  words.push('--inspector-port', String(await freePort()), '--persist-to', state);
  words.push('--show-interactive-dev-session=false', '--log-level', 'error');
  for (const [name, value] of Object.entries(vars)) words.push('--var', `${name}:${value}`);
  const cli = join(dirname(manifest), 'bin/wrangler.js');
  // A group of its own, so that workerd ends with it.
  const child = spawn(process.execPath, [cli, ...words], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: 'true' },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += text));
  const stop = () => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  };
  process.once('exit', stop);

  const url = `http://127.0.0.1:${at}`;
  for (const end = Date.now() + START_MS; ; await sleep(100)) {
    if (child.exitCode !== null || Date.now() > end) {
      stop();
      throw new Error(`wrangler dev does not answer: ${output}`);
    }
    const answer = await fetch(url).catch(() => undefined);
    if (answer) break;
  }
  return { url, stop, output: () => output };
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}
