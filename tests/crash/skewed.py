"""A server whose clock is wrong, with a lease of its own length.

    python -m tests.crash.skewed SECONDS LEASE_MS none --port 0 ...

The clock is that of everything in the process that asks for the time of day; the database has its own.
"""

from __future__ import annotations

import runpy
import sys
import time

if __name__ == "__main__":
    seconds = float(sys.argv.pop(1))
    right_time, right_time_ns = time.time, time.time_ns
    time.time = lambda: right_time() + seconds
    time.time_ns = lambda: right_time_ns() + int(seconds * 1e9)
    runpy.run_module("tests.crash.careless", run_name="__main__", alter_sys=True)
