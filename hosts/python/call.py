"""Calls one function of the acceptance script from Python, with wasmtime-py.

    python call.py COMPONENT FUNCTION [ARGUMENT...]

The component sees the environment variables of this process. What the function gives
goes to standard output; an error of the script goes to standard error, with status 1.
IFMATCH_NETWORK=none leaves `wasi:http` out.
"""

import os
import sys

from wasmtime import Engine, Store, WasiConfig, WasmtimeError
from wasmtime.component import Component, Linker, Variant

SCRIPT = "ifmatch:acceptance/script@0.1.0"


def call(path, function, arguments):
    engine = Engine()
    component = Component.from_file(engine, path)
    linker = Linker(engine)
    linker.add_wasip2()
    store = Store(engine)
    wasi = WasiConfig()
    wasi.env = os.environ.items()
    store.set_wasi(wasi)
    if os.environ.get("IFMATCH_NETWORK") != "none":
        linker.add_wasi_http()
        store.set_wasi_http()
    instance = linker.instantiate(store, component)
    script = instance.get_export_index(store, SCRIPT)
    found = instance.get_func(store, instance.get_export_index(store, function, script))
    # Counts are the only arguments that are numbers.
    return found(store, *(int(a) if a.isdigit() else a for a in arguments))


def main(path, function, *arguments):
    try:
        result = call(path, function, arguments)
    except WasmtimeError as error:
        sys.exit(str(error))
    if isinstance(result, Variant):
        if result.tag == "err":
            sys.exit(result.payload)
        result = result.payload
    print(result)


if __name__ == "__main__":
    main(*sys.argv[1:])
