// A Worker whose store is an R2 binding.

import { r2Bucket } from 'ifmatch/r2';
import { wasi } from 'ifmatch/wasi';
import { instantiate } from '../../target/hosts/js/bucket/workers.js';
import { modules } from '../../target/hosts/js/bucket/modules.js';
import { respond } from '../js/front.js';

export default {
  /** One instance per request: nothing is shared but the store. */
  async fetch(request, env) {
    const { bucket, deletion } = r2Bucket(env.BUCKET);
    const instance = await instantiate((name) => modules[name], {
      ...wasi(),
      'ifmatch:bucket/bucket': bucket,
      'ifmatch:bucket/deletion': deletion,
      'ifmatch:bucket/types': {},
    });
    return respond(instance['ifmatch:acceptance/script@0.1.0'], request);
  },
};
