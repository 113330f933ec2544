"""Commits to a Delta table, one append each: the same protocol of lines as bench-peers."""

import os
import sys
import time

import arro3.core as arrow
import deltalake


class Table:
    def __init__(self, name):
        bucket = os.environ["IFMATCH_BUCKET"]
        self.uri = f"s3://{bucket}/delta/{name}-{os.getpid()}"
        self.options = {
            "AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL_S3"],
            "AWS_REGION": os.environ["AWS_REGION"],
            "AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
            "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
            "AWS_ALLOW_HTTP": "true",
            "aws_conditional_put": "etag",
        }
        self.table = None

    def append(self, records, size):
        column = arrow.Array([b"x" * size] * records, type=arrow.DataType.binary())
        batch = arrow.Table.from_pydict({"body": column})
        target = self.table or self.uri
        options = None if self.table else self.options
        deltalake.write_deltalake(target, batch, mode="append", storage_options=options)
        if self.table is None:
            self.table = deltalake.DeltaTable(self.uri, storage_options=self.options)


def obey(table, words):
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    match words:
        case ["hello"]:
            return []
        case ["append", records, size]:
            table.append(int(records), int(size))
        case _:
            raise ValueError(f"unknown command {words}")
    return [time.perf_counter_ns() - wall, time.process_time_ns() - cpu]


def main():
    table = Table(sys.argv[1])
    for line in sys.stdin:
        try:
            answer = " ".join(["ok", *map(str, obey(table, line.split()))])
        except Exception as error:
            answer = f"error {error}".replace("\n", " ")
        print(answer, flush=True)


if __name__ == "__main__":
    main()
