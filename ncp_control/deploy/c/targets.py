"""Build a controller's self-test for a processor and run it, on this machine or in QEMU.

The Cortex-M4 is QEMU's board mps2-an386, which counts instructions exactly.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ncp_control.deploy.c.compiled import SAME_BITS, WARNINGS, run_compiler
from ncp_control.deploy.c.export import CSource
from ncp_control.kernels.build import BuildError, find_compiler

_CORTEX_M4 = Path(__file__).parent / "cortex_m4"
_INSTRUCTIONS_PER_TICK = 40
"""Instructions per SysTick: one instruction takes 1 ns, and SysTick runs at 25 MHz."""
_RUN_TIMEOUT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """Result of a controller's test program."""

    passed: bool
    """Whether all actions are correct and bad input is refused."""
    largest_difference: float
    """Largest difference from the policy in double precision."""
    bits: str
    """Hash of all states and actions."""
    state_bytes: int
    workspace_bytes: int
    instructions: int | None
    """Number of instructions of one step; None if they are not counted."""
    fault_instructions: int | None
    """The same of one call of `controller_faults`."""
    step_us: float
    """Duration of one step [µs]; meaningless in QEMU."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Memory that a controller needs on a microcontroller."""

    flash_bytes: int
    """Size of the code and tables that a step needs; a linker leaves out the rest."""
    fault_flash_bytes: int
    """Size of what `controller_faults` needs beside them."""
    stack_bytes: int
    """Largest stack depth of a step."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Processor: how to compile for it and how to run the program."""

    name: str
    compiler: str
    """Command of the compiler; empty for the compiler of this machine."""
    flags: tuple[str, ...] = ()
    """Compiler flags."""
    program_flags: tuple[str, ...] = ()
    """Additional flags to compile and link a whole program."""
    emulator: tuple[str, ...] = ()
    """Command in front of the program; empty if the program runs here directly."""
    takes_words: bool = True
    """Whether the program's arguments follow it on the command line."""
    packages: str = ""
    """Debian packages with compiler and emulator."""

    @property
    def missing(self) -> str | None:
        """Message that says what must be installed; None if the target can be used."""
        if not self.compiler:
            try:
                find_compiler()
            except BuildError as error:
                return str(error)
            return None
        for command in (self.compiler, *self.emulator[:1]):
            if shutil.which(command) is None:
                return (
                    f"{self.name} needs {command}, which is not installed."
                    f" Run `apt-get install {self.packages}`."
                )
        return None

    def compile_command(self) -> list[str]:
        """Return the compiler command with all flags that affect the bits of results."""
        command = [self.compiler] if self.compiler else find_compiler()
        return [*command, "-std=c99", *self.flags, "-O2", *SAME_BITS]

    def build(self, controller: CSource, folder: Path) -> Path:
        """Compile a controller with its test program in a folder and return the program's path.

        Raises:
            RuntimeError: If the compiler fails.
        """
        controller.write(folder)
        objects = []
        for name in (controller.name, f"{controller.name}_test"):
            objects.append(str(folder / f"{name}.{self.name}.o"))
            source = str(folder / f"{name}.c")
            ticks = ["-DSELF_TEST_TICKS"] if self.program_flags and name.endswith("_test") else []
            options = [*WARNINGS, *ticks, "-c", source, "-o", objects[-1]]
            run_compiler([*self.compile_command(), *options])
        program = folder / f"{controller.name}_test.{self.name}"
        run_compiler([*self.compile_command(), *objects, *self.program_flags, "-o", str(program)])
        return program

    def run(self, program: Path, steps: int = 0) -> SelfTest:
        """Run a test program; `steps` more steps are run to measure their cost.

        Raises:
            RuntimeError: If the program ends without a result.
        """
        words = [str(steps)] if steps else []
        if self.takes_words:
            command = [*self.emulator, str(program), *words]
        else:
            args = "".join(f",arg={word}" for word in (program.name, *words))
            command = [*self.emulator, f"enable=on,target=native{args}", "-kernel", str(program)]
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_RUN_TIMEOUT_S, check=False
        )
        found = re.search(
            r"(pass|fail): \d+ steps, largest difference (\S+), bits (\w+)\s+"
            r"bytes: state (\d+), workspace (\d+)",
            result.stdout,
        )
        if found is None:
            raise RuntimeError(
                f"the test program must print its result on {self.name}, got status"
                f" {result.returncode} and {(result.stdout + result.stderr)[-300:]!r}."
            )
        took = re.search(r"microseconds a step: (\S+)", result.stdout)
        return SelfTest(
            passed=found[1] == "pass" and result.returncode == 0,
            largest_difference=float(found[2]),
            bits=found[3],
            state_bytes=int(found[4]),
            workspace_bytes=int(found[5]),
            instructions=_instructions("step", result.stdout),
            fault_instructions=_instructions("faults", result.stdout),
            step_us=float(took[1]) if took else float("nan"),
        )

    def measure_size(self, controller: CSource, folder: Path) -> Size:
        """Compile a controller without its test program and return its memory needs.

        Raises:
            RuntimeError: If the compiler fails.
        """
        controller.write(folder)
        source, result = folder / f"{controller.name}.c", folder / f"{controller.name}.o"
        options = ["-fcallgraph-info=su", "-ffunction-sections", "-fdata-sections"]
        run_compiler([*self.compile_command(), *options, "-c", str(source), "-o", str(result)])
        step, faults = (f"{controller.name}_{end}" for end in ("step", "faults"))
        flash_bytes = self._linked_bytes(result, step)
        graph = result.with_suffix(".ci").read_text()
        return Size(
            flash_bytes=flash_bytes,
            fault_flash_bytes=self._linked_bytes(result, step, faults) - flash_bytes,
            stack_bytes=deepest_stack(graph, step),
        )

    def _linked_bytes(self, compiled: Path, *functions: str) -> int:
        """Return the size of some functions of an object file with all that they call [bytes]."""
        linked = compiled.with_suffix(".linked.o")
        roots = [word for name in functions for word in ("--undefined", name)]
        linker, size = (self.compiler.replace("gcc", tool) for tool in ("ld", "size"))
        run_compiler([linker, "-r", "--gc-sections", *roots, str(compiled), "-o", str(linked)])
        return int(run_compiler([size, str(linked)]).splitlines()[1].split()[0])


def _instructions(name: str, output: str) -> int | None:
    """Return the mean number of instructions that a test program printed; None if none."""
    ticks = [int(number) for number in re.findall(rf"^{name}: (\d+) ticks$", output, re.MULTILINE)]
    return round(sum(ticks) / len(ticks) * _INSTRUCTIONS_PER_TICK) if ticks else None


def deepest_stack(graph: str, root: str) -> int:
    """Return the largest stack size of a function with everything that it calls [bytes].

    Args:
        graph: Output of `gcc -fcallgraph-info=su`.
        root: Name of the function.
    """
    own, calls = {}, {}
    for title, label in re.findall(r'node: { title: "([^"]+)" label: "([^"]+)"', graph):
        size = re.search(r"(\d+) bytes", label)
        own[title] = int(size[1]) if size else 0
    for source, target in re.findall(r'sourcename: "([^"]+)" targetname: "([^"]+)"', graph):
        calls.setdefault(source, set()).add(target)

    def depth(name: str) -> int:
        return own.get(name, 0) + max(map(depth, calls.get(name, ())), default=0)

    return depth(root)


HOST = Target(name="host", compiler="")
CORTEX_M4 = Target(
    name="cortex-m4",
    compiler="arm-none-eabi-gcc",
    flags=("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    program_flags=(
        "--specs=rdimon.specs",
        f"-T{_CORTEX_M4 / 'mps2_an386.ld'}",
        str(_CORTEX_M4 / "startup.c"),
    ),
    emulator=(
        *("qemu-system-arm", "-M", "mps2-an386", "-nographic", "-icount", "shift=0"),
        "-semihosting-config",
    ),
    takes_words=False,
    packages="gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm",
)
TARGETS = (
    HOST,
    Target(
        name="aarch64",
        compiler="aarch64-linux-gnu-gcc",
        flags=("-static",),
        emulator=("qemu-aarch64",),
        packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user",
    ),
    Target(
        name="riscv64",
        compiler="riscv64-linux-gnu-gcc",
        flags=("-static",),
        emulator=("qemu-riscv64",),
        packages="gcc-riscv64-linux-gnu libc6-dev-riscv64-cross qemu-user",
    ),
    CORTEX_M4,
)
"""Processors on which a controller must give the same bits."""
