"""Tasks of a LeRobotDataset: `meta/tasks.parquet` (v3), `meta/tasks.jsonl` (v2.1)."""

import json
from pathlib import Path

from envs.recorded.own_notes import MAX_BYTES, short
from envs.recorded.parquet import ParquetTable
from envs.recorded.text import read_lines
from ncp_control.tally import Tally

TASK_INDEX = "task_index"


def read_tasks(folder: Path, skipped: Tally) -> dict[int, str]:
    """Return the words of each task by its number; empty if there are none, or they are damaged.

    Args:
        folder: Folder of the data set.
        skipped: Counts a damaged file.
    """
    table, lines = folder / "meta" / "tasks.parquet", folder / "meta" / "tasks.jsonl"
    try:
        found = _of_table(table) if table.is_file() else _of_lines(lines) if lines.is_file() else {}
    except (ValueError, KeyError, TypeError, OSError, OverflowError, RecursionError) as error:
        skipped.add("damaged tasks", short(error))
        return {}
    return {number: words for number, words in found.items() if isinstance(words, str) and words}


def _of_table(path: Path) -> dict[int, object]:
    table = ParquetTable(path)
    names = [name for name in table.schema.names if name != TASK_INDEX]
    numbers = [int(number) for number in table.values(TASK_INDEX)]
    return dict(zip(numbers, table.values(names[0]), strict=True)) if names else {}


def _of_lines(path: Path) -> dict[int, object]:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name} has more than {MAX_BYTES} bytes")
    tasks = [json.loads(line) for line in read_lines(path) if line]
    return {int(one[TASK_INDEX]): one["task"] for one in tasks}
