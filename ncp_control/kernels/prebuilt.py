"""Compiled kernels in a wheel, so that users need no compiler.

When the wheel is built, `compile_all` makes a library for each level of a processor family. `load`
takes the highest level that this processor supports. The levels of x86-64 are the named levels of
compilers (x86-64 psABI): v2 has SSE4.2, v3 AVX2 and FMA, v4 AVX-512. Other families have one level.
A clone has no such libraries: `build` compiles on first use for exactly this processor. It does so
in an installed wheel, too, if NCP_CONTROL_KERNELS=build.

Only the standard library is imported here, because wheels are built without torch.
"""

import ctypes
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from ncp_control.kernels import build

FOLDER = Path(__file__).parent / "prebuilt"
"""Folder of the libraries in a wheel."""
REAL_BITS = (32, 64)
LEVELS: Mapping[str, tuple[str, ...]] = {
    "x86_64": ("x86-64-v4", "x86-64-v3", "x86-64-v2"),
    "aarch64": ("armv8-a",),
}
"""Levels of each family of processors, the highest first."""
FAMILIES = {"AMD64": "x86_64", "arm64": "aarch64"}
"""Other names of the families, on some systems."""
FEATURES: Mapping[str, frozenset[str]] = {
    "x86-64-v2": frozenset("cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3".split()),
    "x86-64-v3": frozenset("avx avx2 bmi1 bmi2 f16c fma abm movbe xsave".split()),
    "x86-64-v4": frozenset("avx512f avx512bw avx512cd avx512dq avx512vl".split()),
}
"""Processor features that a level adds to those below it, as named in Linux's /proc/cpuinfo."""


def load(real_bits: int) -> ctypes.CDLL | None:
    """Return the library for this processor; None if this installation has none that loads.

    Args:
        real_bits: 32 for float, 64 for double.
    """
    for level in usable_levels():
        path = FOLDER / file_name(level, real_bits)
        if path.is_file():
            try:
                return ctypes.CDLL(str(path))
            except OSError:  # made for another system, or on a disk mounted with noexec
                return None
    return None


def usable_levels() -> list[str]:
    """Return the levels that this processor supports, the highest first."""
    family = FAMILIES.get(platform.machine(), platform.machine())
    if family != "x86_64":
        return list(LEVELS.get(family, ()))
    features, wanted = _features(), frozenset[str]()
    usable = []
    for level in reversed(LEVELS[family]):
        wanted |= FEATURES[level]
        if wanted <= features:
            usable.insert(0, level)
    return usable


def file_name(level: str, real_bits: int) -> str:
    """Return the file name of a library."""
    return f"{level}-{real_bits}.{'dll' if sys.platform == 'win32' else 'so'}"


def compile_all(folder: Path) -> list[Path]:
    """Compile the libraries for every level of this processor family.

    Args:
        folder: Folder of the libraries; created if it does not exist.

    Returns:
        The files of the libraries.

    Raises:
        BuildError: If there is no compiler, it fails, or the family is unknown.
    """
    family = FAMILIES.get(platform.machine(), platform.machine())
    if family not in LEVELS:
        raise build.BuildError(f"there are no levels for processors of the kind {family!r}")
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for level in LEVELS[family]:
        for bits in REAL_BITS:
            path = folder / file_name(level, bits)
            build.compile_to(path, bits, (f"-march={level}",))
            made.append(path)
    return made


def _features() -> frozenset[str]:
    """Return the features of this processor; empty if the system does not report them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())
