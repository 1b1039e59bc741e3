"""What several rooms' tests share."""

import contextlib
import os
import sys
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
os.environ["OMP_NUM_THREADS"] = "1"  # what jobs take for all cores


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from the same random state, and with denormal numbers.

    Some jobs switch those off for their process.
    """
    torch.manual_seed(0)
    torch.set_flush_denormal(False)


@pytest.fixture
def own_names(monkeypatch, tmp_path):
    """Forget what a test registers or imports when it ends."""
    from envs.recorded import READERS
    from ncp_control.cells import CELLS
    from ncp_control.policy.heads import HEADS
    from ncp_control.wiring_rules import WIRINGS
    from ncp_control.worlds import WORLDS

    for registry in (CELLS, WIRINGS, HEADS, WORLDS, READERS):
        monkeypatch.setattr(registry, "_things", dict(registry._things))
        monkeypatch.setattr(registry, "_sources", dict(registry._sources))
    monkeypatch.setattr("sys.path", list(sys.path))  # jobs append the folder they run in
    yield
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder of real recordings: `NCP_CONTROL_DATA`, or `shared/data` beside the clone."""
    beside_clone = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NCP_CONTROL_DATA", beside_clone))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}: set NCP_CONTROL_DATA to their folder")
    return folder
