import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)


@pytest.mark.parametrize(
    ("example", "printed"), [(0, r"tensor\(\[0\.0"), (1, r"balanced for \d+ of 1000 steps")]
)
def test_the_examples_of_the_readme_run(tmp_path, example, printed):
    code = EXAMPLES[example].replace("100_000", "2_048")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(printed, done.stdout)


def test_every_example_is_run():
    assert len(EXAMPLES) == 2
