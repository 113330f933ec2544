// The entry for node.

import { instantiate } from '../generated/protocols.js';
import { compiler } from './compile.js';
import { opener } from './open.js';

export const open = opener(instantiate, compiler(new URL('../generated/', import.meta.url)));
export { IfmatchError } from './error.js';
