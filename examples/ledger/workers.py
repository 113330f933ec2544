"""Two workers on one ledger: two instances of the composed component.

    python workers.py LEDGER-APP.WASM

The settings are environment variables: `IFMATCH_BUCKET`, `AWS_ENDPOINT_URL_S3`, ...
"""

import os
import sys

from wasmtime import Engine, Store, WasiConfig
from wasmtime.component import Component, Linker, Variant

INTERFACE = "example:ledger/ledger@0.1.0"


class Worker:
    """One instance. Its functions are those of `wit/ledger.wit`."""

    def __init__(self, engine, component):
        linker = Linker(engine)
        linker.add_wasip2()
        linker.add_wasi_http()
        self.store = Store(engine)
        wasi = WasiConfig()
        wasi.env = os.environ.items()
        self.store.set_wasi(wasi)
        self.store.set_wasi_http()
        self.instance = linker.instantiate(self.store, component)
        self.interface = self.instance.get_export_index(self.store, INTERFACE)

    def call(self, name, *arguments):
        index = self.instance.get_export_index(self.store, name, self.interface)
        result = self.instance.get_func(self.store, index)(self.store, *arguments)
        # wasmtime-py gives the bare value where its type alone tells the case. The
        # errors of this interface are texts.
        if isinstance(result, Variant):
            failed, result = result.tag == "err", result.payload
        else:
            failed = isinstance(result, str)
        if failed:
            sys.exit(f"{name}: {result}")
        return result


def main(path):
    engine = Engine()
    component = Component.from_file(engine, path)
    anna, bob = Worker(engine, component), Worker(engine, component)

    for number, (worker, account, cents) in enumerate(
        [(anna, "coffee", 250), (bob, "tea", 180), (bob, "coffee", 250), (anna, "tea", -80)]
    ):
        entry = worker.call("enter", account, cents)
        print(f"entry {entry}: {cents:+} to {account}")
        assert entry == number, entry

    settle(anna, "anna", 4)
    # A text is the name of the worker that leads.
    settle(bob, "bob", "anna")
    bob.call("enter", "coffee", 300)
    settle(anna, "anna", 1)
    settle(anna, "anna", 0)

    sums = {balance.account: balance.cents for balance in bob.call("balances")}
    print("bob reads:", ", ".join(f"{account} {cents}" for account, cents in sums.items()))
    assert sums == {"coffee": 800, "tea": 100}, sums


def settle(worker, name, expected):
    settlement = worker.call("settle", name)
    led = isinstance(settlement, str)
    print(f"{name} settles:", f"led by {settlement}" if led else f"added {settlement}")
    assert settlement == expected, expected


if __name__ == "__main__":
    main(*sys.argv[1:])
