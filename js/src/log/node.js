// The entry for node, with the log and the leases only.

import { instantiate } from '../../generated/log/protocols.js';
import { compiler } from '../compile.js';
import { opener } from '../open.js';

export const open = opener(instantiate, compiler(new URL('../../generated/log/', import.meta.url)));
export { IfmatchError } from '../error.js';
