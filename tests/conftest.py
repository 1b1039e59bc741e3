"""What several rooms' tests share."""

import contextlib
import os
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

# Triton's copy of LLVM crashes when the software renderer behind MuJoCo has loaded its own first.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

# Shapes in the annotations are executed here and nowhere else.
install_import_hook("ncp_control.cells", "beartype.beartype")


torch.set_num_threads(1)  # small tensors; two test processes share two cores


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from the same random state."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder of real recordings: `NCP_CONTROL_DATA`, or `shared/data` beside the clone."""
    beside_clone = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NCP_CONTROL_DATA", beside_clone))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}: set NCP_CONTROL_DATA to their folder")
    return folder
