"""`Registry`: what settings and files call by a name, such as cells, wirings, heads and worlds.

A module of your own registers its parts when it is imported. Jobs import it with
`--import my_module`; then its names stand beside ours, in settings, in option texts and in saved
policies.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from ncp_control.json_files import shorten
from ncp_control.names import check_name

IMPORT_HINT = "One of your own needs --import MODULE."
T = TypeVar("T")
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


class Registry(Mapping[str, T]):
    """Things of one kind by name, in the order in which they were registered.

    Args:
        kind: What they are, as settings call it, e.g. "cell".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}
        self._sources: dict[str, Any] = {}

    def register(self, name: str, thing: T, *, source: Any = None) -> None:
        """Make a thing known by a name.

        The same class or function may come again under its name, as when a module is reloaded.

        Args:
            name: Letters, digits, underscores, dots and hyphens: it becomes part of file names.
            thing: What the name stands for.
            source: The class or function that makes it; the thing itself if None.

        Raises:
            ValueError: If the name has other characters or stands for something else already.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"`name` of a {self.kind} must be of letters, digits, '_', '.' and '-', got"
                f" {shorten(name)}. Choose another name."
            )
        source = thing if source is None else source
        if name in self._things and not _are_same(self._sources[name], source):
            raise ValueError(
                f"`name` of a {self.kind} must be free, got {name!r}, which is taken by"
                f" {_describe(self._sources[name])}. Choose another name."
            )
        self._things[name], self._sources[name] = thing, source

    def find(self, name: object, *, setting: str | None = None, module: object = None) -> T:
        """Return what a name stands for.

        Args:
            name: What the user gave, or what a file holds.
            setting: What the name is called there; the kind if None.
            module: Where a file says that the name was registered, for the error.

        Raises:
            ValueError: If the name is unknown; the message tells the nearest known one, or what to
                import.
        """
        if isinstance(name, str) and name in self._things:
            return self._things[name]
        if module is not None:
            raise ValueError(
                f"`{setting or self.kind}` must be one of {sorted(self)}, got {shorten(name)}."
                f" {import_advice(module)}"
            )
        check_name(setting or self.kind, name, self, hint=IMPORT_HINT)
        raise AssertionError("unreachable: an unknown name is refused above")

    def module_of(self, name: str) -> str | None:
        """Return the module that a name comes from; None if it is part of `ncp_control`."""
        return foreign_module(self._sources[name])

    def __getitem__(self, name: str) -> T:
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def __str__(self) -> str:
        """Return the names as an option text lists them: `gru, lstm or ltc`."""
        *most, last = sorted(self) or ["none yet"]
        return f"{', '.join(most)} or {last}" if most else last


def foreign_module(thing: object) -> str | None:
    """Return the module of a class or function; None if it is part of `ncp_control`."""
    module = getattr(thing, "__module__", None)
    is_ours = module is None or module.partition(".")[0] == "ncp_control"
    return None if is_ours else module


def import_advice(module: object) -> str:
    """Return what to do for a name that another module brings."""
    name = str(module)[:100]
    return f"Import the module {name!r} first: a job does with --import {name}."


def _are_same(one: object, other: object) -> bool:
    """True for one thing, or for one definition that was executed twice."""
    if one is other:
        return True
    name, module = getattr(one, "__qualname__", "<none>"), getattr(one, "__module__", None)
    if "<" in name:  # a lambda or a local function: others may have the same name
        return False
    other_name, other_module = (getattr(other, x, None) for x in ("__qualname__", "__module__"))
    return (name, module) == (other_name, other_module)


def _describe(source: object) -> str:
    """Return a class or function as a person would look it up."""
    return f"{getattr(source, '__module__', '')}.{getattr(source, '__qualname__', source)}"
