"""Policies as freestanding C99: circuit, head or encoder, and contract in one pair of files."""

from ncp_control.deploy.c.export import CELL_STAGES, Controller, to_c
from ncp_control.deploy.naming import HEAD_WEIGHTS

__all__ = ["CELL_STAGES", "HEAD_WEIGHTS", "Controller", "to_c"]
