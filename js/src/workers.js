// The entry for Cloudflare Workers, where an import of WebAssembly is a compiled
// module.

import { instantiate } from '../generated/protocols.js';
import core from '../generated/protocols.core.wasm';
import core2 from '../generated/protocols.core2.wasm';
import core3 from '../generated/protocols.core3.wasm';
import { opener } from './open.js';

const MODULES = {
  'protocols.core.wasm': core,
  'protocols.core2.wasm': core2,
  'protocols.core3.wasm': core3,
};

export const open = opener(instantiate, (path) => MODULES[path]);
export { IfmatchError } from './error.js';
