"""Mutate the files that ncp-control reads, and check that each reader answers with one sentence.

    python tests/fuzzing/fuzz_readers.py                        2,000 inputs over all readers
    python tests/fuzzing/fuzz_readers.py --count 20000          the full campaign, some minutes
    python tests/fuzzing/fuzz_readers.py --readers policy       one reader
    python tests/fuzzing/fuzz_readers.py --readers policy --first 123 --count 1     one input again

A reader gets a folder of valid files, of which one is mutated: bits flipped, pieces cut out, put in
or repeated, numbers and JSON values replaced by absurd ones. It may read the folder, and then what
it returns must be usable, or refuse it with a ValueError or FileNotFoundError of one sentence.
A fault is any other exception, a sentence of several lines, more than 5 s of CPU time, or more than
1 GB of memory.
"""

import argparse
import math
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import cv2
import torch

from tests.fuzzing.cases import OWN_FILES, Reader
from tests.fuzzing.damage import mutate
from tests.fuzzing.recording_cases import RECORDINGS

MAX_CPU_S, MAX_BYTES = 5.0, 1 << 30
READERS = OWN_FILES | RECORDINGS


def peak_bytes() -> int:
    """Return the most memory that this process has held."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def try_one(reader: Reader, valid: Path, seed: int, root: Path) -> tuple[str, str]:
    """Mutate a copy of a valid folder, read it, and return the outcome and what is to be told.

    Returns:
        "read", "refused" or "fault"; and the sentence or the fault.
    """
    folder = root / "case"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(valid, folder)
    change = mutate(folder, random.Random(seed))
    memory, begin = peak_bytes(), time.process_time()
    outcome, told = "read", ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(folder)
    except (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        outcome, told = "refused", str(error)
        # The subclasses of ValueError (UnicodeDecodeError, …) are nobody's sentence; jobs turn an
        # OSError that knows its file into one.
        is_own = type(error) is ValueError or getattr(error, "filename", None)
        is_own = is_own or type(error) is FileNotFoundError
        if not is_own or "\n" in told or len(told) > 900:
            outcome, told = (
                "fault",
                f"not one sentence of ours: {type(error).__name__}: {told[:300]}",
            )
    except Exception:
        outcome, told = "fault", traceback.format_exc(limit=-4)
    cpu_s, grown = time.process_time() - begin, peak_bytes() - memory
    if cpu_s > MAX_CPU_S:
        outcome, told = "fault", f"{cpu_s:.1f} s of CPU time; {told[:200]}"
    if grown > MAX_BYTES:
        outcome, told = "fault", f"{grown / 1e9:.1f} GB of memory; {told[:200]}"
    return outcome, f"{change}: {told}"


def campaign(names: list[str], first: int, count: int) -> int:
    """Try `count` inputs of each reader; print one row each and every fault. Return the faults."""
    total = Counter()
    for name in names:
        with tempfile.TemporaryDirectory() as temporary:
            root = Path(temporary)
            (root / "valid").mkdir()
            READERS[name].make(root / "valid")
            READERS[name].read(root / "valid")  # else every outcome would be a refusal
            outcomes = Counter()
            for seed in range(first, first + count):
                outcome, told = try_one(READERS[name], root / "valid", seed, root)
                outcomes[outcome] += 1
                if outcome == "fault":
                    print(f"FAULT {name} --first {seed}: {told}", flush=True)
        total += outcomes
        print(
            f"{name:15} " + " ".join(f"{outcomes[o]:6} {o}" for o in ("read", "refused", "fault")),
            flush=True,
        )
    print(f"{'all':15} " + " ".join(f"{total[o]:6} {o}" for o in ("read", "refused", "fault")))
    return total["fault"]


def main() -> None:
    """Parse the command line and run the campaign."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--readers", nargs="*", choices=list(READERS), default=list(READERS))
    parser.add_argument("--first", type=int, default=0, help="seed of the first mutation")
    parser.add_argument("--count", type=int, default=2000, help="inputs over all chosen readers")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    each = max(1, math.ceil(arguments.count / len(arguments.readers)))
    sys.exit(campaign(arguments.readers, arguments.first, each) > 0)


if __name__ == "__main__":
    main()
