// Serves the script on loopback, for hosts that serve nothing by themselves.

import { createServer } from 'node:http';
import { answer, parse } from './front.js';

/** Passes every request on to `call(name, args)`. */
export function listen(port, call) {
  createServer(async (request, response) => {
    const { name, args } = parse(request.url);
    const [status, text] = await answer(() => call(name, args));
    response.writeHead(status, { 'content-type': 'text/plain' }).end(text);
  }).listen(port, '127.0.0.1');
}
