"""Measuring: medians of variants that take turns in one run, and peak memory in processes apart."""

import multiprocessing
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table


def wall() -> float:
    """Seconds of the clock, once a GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def processor() -> float:
    """Seconds of this process's threads: what it took, whatever else the machine does."""
    return time.process_time()


def medians(
    variants: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = wall
) -> dict[str, float]:
    """Median seconds of each variant; they take turns, so that all see the same machine.

    One round before the first is thrown away: it pays for caches and compilation.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, variant in variants.items():
            begin = clock()
            variant()
            if number:
                seconds[name].append(clock() - begin)
            print(f"round {number} of {rounds}: {name}", file=sys.stderr)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def peak_memory(function: Callable[..., object], *arguments: Any) -> float:
    """Peak memory in MiB of `function(*arguments)` in a process of its own.

    On a CPU the largest resident set of the process, the program itself included, as Linux counts
    it; with CUDA the most that torch had allocated.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_report_peak, args=(theirs, function, arguments)
    )
    process.start()
    theirs.close()
    try:
        return float(ours.recv())
    finally:
        process.join()


def _report_peak(
    pipe: Connection, function: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    function(*arguments)
    if torch.cuda.is_available():
        pipe.send(torch.cuda.max_memory_allocated() / 2**20)
    else:
        # Not getrusage's figure: that one is handed down from the parent process.
        status = Path("/proc/self/status").read_text()
        (kibibytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
        pipe.send(int(kibibytes) / 2**10)


def show(title: str, figures: Mapping[str, float], unit: str) -> None:
    """Print figures, the first of which is what the others are compared with."""
    table = Table("", unit, "ratio", title=title, title_justify="left")
    base = next(iter(figures.values()))
    for name, value in figures.items():
        table.add_row(
            name, f"{value:,.3f}" if value < 100 else f"{value:,.0f}", f"{value / base:.2f}"
        )
    Console().print(table)


def machine() -> str:
    """What the figures were taken on."""
    where = [_processor(), *([torch.cuda.get_device_name()] if torch.cuda.is_available() else [])]
    return f"{', '.join(where)}; torch {torch.__version__}, {torch.get_num_threads()} threads"


def _processor() -> str:
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return f"{len(names)} x {names[0]}"
