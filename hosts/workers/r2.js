// A Worker whose store is an R2 binding.

import { r2Bucket } from 'ifmatch/r2';
import { wasi } from 'ifmatch/wasi';
import { instantiate } from '../../target/hosts/js/r2/workers.js';
import { modules } from '../../target/hosts/js/r2/modules.js';
import { SCRIPT_ERROR, respond } from '../js/front.js';

export default {
  /** One instance per request: nothing is shared but the store. */
  async fetch(request, env) {
    let provider;
    try {
      provider = r2Bucket(env.BUCKET);
    } catch (error) {
      // What somebody reads who forgot the binding.
      return new Response(error.message, { status: SCRIPT_ERROR });
    }
    const instance = await instantiate((name) => modules[name], {
      ...wasi(),
      'ifmatch:bucket/bucket': provider.bucket,
      'ifmatch:bucket/deletion': provider.deletion,
      'ifmatch:bucket/types': {},
    });
    return respond(instance['ifmatch:acceptance/script@0.1.0'], request);
  },
};
