"""Resuming a run on S3 that wrote a part per sample, as slow samples do.

    python -m benchmarks.many_parts [--num-parts 10000]

First as this version records, which merges small parts as they come; then with all parts still
there, as versions before 0.2 left them: each is read once, then they are one. The server is moto's,
in a process of its own on this machine, so that the CPU time is the driver's alone; the wall time
holds the server's work, too.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from nasi_ray.records import RecordStore, SampleRows, parts
from nasi_ray.records.identity import fingerprint
from nasi_ray.records.rows import Sample, SampleTable
from nasi_ray.spaces import get_space
from nasi_ray.storage.s3 import S3Storage, make_client

SPACE = get_space("darts")
BUCKET = "bench"
IDENTITY: dict[str, str | int] = {"seed": 0}
_THREADS = 8


@contextmanager
def server() -> Iterator[None]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


def sample(index: int) -> Sample:
    return Sample(
        index=index,
        status="ok",
        trace_norm=1.0 + index,
        grad=np.zeros(SPACE.num_logits),
        choices=np.zeros(len(SPACE.decisions), dtype=np.int64),
        error="",
        seconds=1.0,
        worker="bench",
    )


def timed(name: str, what: Callable[[], RecordStore[Sample, SampleTable]]) -> None:
    start, cpu = time.perf_counter(), time.process_time()
    store = what()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    parts = f"{store.num_parts} parts now"
    print(f"{name:38} {wall:6.1f} s, {cpu:5.1f} CPU s of the driver, {parts}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-parts", type=int, default=10_000)
    num_parts = parser.parse_args().num_parts
    with server():
        make_client("s3://bench").create_bucket(Bucket=BUCKET)
        rows = SampleRows(SPACE.num_logits)

        def opened(name: str) -> RecordStore[Sample, SampleTable]:
            return RecordStore.open(S3Storage(BUCKET, name), identity=IDENTITY, rows=rows)

        def record() -> RecordStore[Sample, SampleTable]:
            store = opened("merged")
            for number in range(num_parts):
                store.append([sample(number)])
                store.merge_small()
            return store

        def resume(name: str) -> RecordStore[Sample, SampleTable]:
            store = opened(name)
            store.compact_many()
            assert store.missing(range(num_parts)) == []
            return store

        timed(f"recording {num_parts} samples, a part each", record)
        timed("resuming it", lambda: resume("merged"))
        storage = S3Storage(BUCKET, "run")

        def put(number: int) -> None:
            mark = fingerprint({**IDENTITY, **rows.partition})
            data = parts.to_bytes(parts.table_of([sample(number)], rows, fingerprint=mark), rows)
            storage.write(parts.part_name(rows.folder, number + 1, data), data)

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(put, range(num_parts)))

        timed(f"resuming {num_parts} parts, never merged", lambda: resume("run"))
        timed("resuming it again", lambda: resume("run"))


if __name__ == "__main__":
    main()
