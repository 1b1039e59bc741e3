"""Figures as files that are never half-written."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from ncp_control import files


def write_picture(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, whole or not at all."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    files.write_file(path, picture.getvalue())
