# pyright: reportMissingImports=false
"""Build hook of the wheel: compiles the kernels for every level of the processor at hand.

With NCP_CONTROL_PREBUILT=1 the wheel has the libraries, and is one for this kind of system; without
it the wheel is the same for all, and compiles on first use. See `ncp_control/kernels/prebuilt.py`.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWITCH = "NCP_CONTROL_PREBUILT"


class KernelsHook(BuildHookInterface):
    """Compiles the kernels into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say what kind of system the wheel is for.

        Args:
            version: "standard", or "editable" for a clone, which compiles on first use.
            build_data: What hatchling is told about the wheel.
        """
        if os.environ.get(SWITCH) != "1" or version != "standard":
            return
        sys.path.insert(0, self.root)
        from ncp_control.kernels import prebuilt

        for path in prebuilt.compile_all(self._folder):
            build_data["force_include"][str(path)] = f"ncp_control/kernels/prebuilt/{path.name}"
        system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{system}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled; it is in the wheel."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _folder(self) -> Path:
        return Path(self.root) / "build" / "prebuilt"
