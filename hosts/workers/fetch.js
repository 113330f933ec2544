// A Worker whose store is reached over HTTP: `wasi:http` on top of `fetch`.

import { environment } from '@bytecodealliance/preview2-shim/cli';
import { monotonicClock, wallClock } from '@bytecodealliance/preview2-shim/clocks';
import { outgoingHandler, types } from '@bytecodealliance/preview2-shim/http';
import { error, poll, streams } from '@bytecodealliance/preview2-shim/io';
import { random } from '@bytecodealliance/preview2-shim/random';
import { instantiate } from '../../target/hosts/js/fetch/workers.js';
import { modules } from '../../target/hosts/js/fetch/modules.js';
import { respond } from '../js/front.js';

export default {
  /** One instance per request: nothing is shared but the store. */
  async fetch(request, env) {
    const settings = Object.entries(env).filter(([, value]) => typeof value === 'string');
    const instance = await instantiate((name) => modules[name], {
      'wasi:cli/environment': { ...environment, getEnvironment: () => settings },
      'wasi:clocks/monotonic-clock': monotonicClock,
      'wasi:clocks/wall-clock': wallClock,
      'wasi:http/outgoing-handler': outgoingHandler,
      'wasi:http/types': types,
      'wasi:io/error': error,
      'wasi:io/poll': poll,
      'wasi:io/streams': streams,
      'wasi:random/random': random,
    });
    return respond(instance['ifmatch:acceptance/script@0.1.0'], request);
  },
};
