// The entry for Cloudflare Workers, with the log and the leases only.

import { instantiate } from '../../generated/log/protocols.js';
import core from '../../generated/log/protocols.core.wasm';
import core2 from '../../generated/log/protocols.core2.wasm';
import core3 from '../../generated/log/protocols.core3.wasm';
import { opener } from '../open.js';

const MODULES = {
  'protocols.core.wasm': core,
  'protocols.core2.wasm': core2,
  'protocols.core3.wasm': core3,
};

export const open = opener(instantiate, (path) => MODULES[path]);
export { IfmatchError } from '../error.js';
