"""Policies as freestanding C99: circuit, head or encoder, and contract in two files."""

from ncp_control.deploy.c.export import CELL_STAGES, CSource, to_c
from ncp_control.deploy.naming import HEAD_WEIGHTS

__all__ = ["CELL_STAGES", "HEAD_WEIGHTS", "CSource", "to_c"]
