"""`python -m tests.faults [--rounds N] [--seed S]`: disturbs runs of the smoke preset, and prints what it found.

`--fuzz MINUTES`: damaged settings and files, for so long.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from .program import Reference
from .rounds import ONCE, RANDOM, one_round


def main() -> int:
    """Returns 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, metavar="N", help="rounds with faults at random moments")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--fuzz", type=float, metavar="MINUTES", help="damaged settings and files instead")
    parser.add_argument(
        "--folder", type=Path, help="of the runs; the undisturbed run and compiled programs there are used"
    )
    parser.add_argument("--only", default="", metavar="NAME", help="faults with this in their names")
    arguments = parser.parse_args()
    if arguments.fuzz:
        from .fuzz import fuzz

        return fuzz(arguments.fuzz, arguments.seed)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it, and so would the runs
    print(f"run folders of rounds with findings stay in {folder}", flush=True)
    reference, outcomes, started = Reference(folder), [], time.monotonic()
    print(f"the undisturbed run took {reference.seconds:.0f} s", flush=True)
    planned = [(fault, 0) for fault in ONCE] + [(RANDOM[i % len(RANDOM)], i) for i in range(arguments.rounds)]
    for fault, number in planned:
        if arguments.only in fault.__name__:
            outcome = one_round(fault, reference, folder, f"{arguments.seed}-{number}")
            outcomes.append(outcome)
            state = "; ".join(outcome.problems) or "ok"
            print(f"{len(outcomes):4d}  {outcome.seconds:4.0f} s  {outcome.name}: {state}", flush=True)
    counts = {
        name: sum(len(getattr(each, name)) for each in outcomes)
        for name in ("lost", "corrupted", "tracebacks", "other")
    }
    minutes = (time.monotonic() - started) / 60
    print(
        f"rounds: {len(outcomes)}, lost checkpoints: {counts['lost']}, silent corruptions: {counts['corrupted']}, "
        f"tracebacks: {counts['tracebacks']}, other: {counts['other']} ({minutes:.0f} minutes)"
    )
    return int(any(counts.values()))


if __name__ == "__main__":
    sys.exit(main())
