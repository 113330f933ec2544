"""Accounts whose entries are kept for good, and added up by one worker at a time.

Three protocols, one job each. The *log* takes entries from anybody, in one order. The
*lease* picks the worker that adds them up, so that not all of them do the same work.
The *manifest* has the sums together with the place in the log up to which they go:
both change in one commit, so no entry is ever added twice, whoever dies when. The
lease's token goes along with the commit, and stops a leader that slept too long.
"""

import json
from dataclasses import asdict

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.ledger import Balance, Settlement_Added, Settlement_LedBy
from wit_world.imports import lease, log, manifest
from wit_world.imports.types import Writer_Fenced, Writer_Shared

ENTRIES = "ledger/entries"
SUMS = "ledger/sums"
LEADER = "ledger/leader"

# The key of the place in the log. Accounts have keys that begin with `=`.
PLACE = "place"
START = log.Cursor(offset=0, slot=None, absent_until=None)


class Ledger(exports.Ledger):
    def enter(self, account, cents):
        entry = json.dumps({"account": account, "cents": cents}).encode()
        options = log.AppendOptions(Writer_Shared(), expected=None, producer=None)
        match told(log.append, ENTRIES, [entry], options):
            case log.AppendOutcome_Appended(extent):
                return extent.start
            case outcome:
                # It may be in the log: a caller that must not enter twice asks for
                # a producer's sequence number.
                raise Err(str(outcome))

    def settle(self, me):
        request = lease.Request(me, duration_ms=10_000, note="", bounds=None)
        match told(lease.acquire, LEADER, request):
            case lease.AcquireOutcome_Acquired(grant):
                pass
            case lease.AcquireOutcome_Held(status):
                return Settlement_LedBy(status.holder)
            case outcome:
                raise Err(str(outcome))

        base, sums, place = read_sums()
        limit = log.ReadLimit(records=1000, bytes=1 << 20)
        match told(log.read, ENTRIES, place, limit):
            case log.ReadOutcome_Records(batch):
                pass
            case outcome:
                raise Err(str(outcome))
        for entry in batch.entries:
            entry = json.loads(entry.body)
            account = entry["account"]
            sums[account] = sums.get(account, 0) + entry["cents"]

        items = {"=" + account: str(cents) for account, cents in sums.items()}
        items[PLACE] = json.dumps(asdict(batch.next))
        change = manifest.Change(
            base=base,
            depends_on=manifest.Dependency_All(),
            edits=[
                manifest.Edit_Set(manifest.Item(key, value.encode(), blobs=[]))
                for key, value in items.items()
            ],
            writer=Writer_Fenced(grant.token),
            author=me,
            message=f"{len(batch.entries)} entries",
            id=None,
        )
        match told(manifest.commit, SUMS, change):
            case manifest.CommitOutcome_Committed():
                return Settlement_Added(len(batch.entries))
            case outcome:
                # Somebody else added them up, or may have: the next call reads anew.
                raise Err(str(outcome))

    def balances(self):
        _, sums, _ = read_sums()
        return [Balance(account, cents) for account, cents in sorted(sums.items())]


def read_sums():
    """The version, the sum of each account, and the place in the log."""
    snapshot = told(manifest.latest, SUMS)
    if snapshot is None:
        return 0, {}, START
    items = {item.key: item.value.decode() for item in snapshot.items}
    place = log.Cursor(**json.loads(items.pop(PLACE)))
    sums = {key.removeprefix("="): int(cents) for key, cents in items.items()}
    return snapshot.summary.version, sums, place


def told(call, *arguments):
    """The call's result. Its error becomes a text, as `ledger` has it."""
    try:
        return call(*arguments)
    except Err as error:
        raise Err(str(error.value)) from None
