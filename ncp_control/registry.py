"""`Registry`: finds cells, wirings, heads, worlds and other parts by name.

A module of your own registers its parts when it is imported. Jobs import it with
`--import my_module`. Its names can then be used in settings and saved policies, and option texts
list them.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from ncp_control.json_files import shorten
from ncp_control.names import check_name

IMPORT_HINT = "One of your own needs --import MODULE."
T = TypeVar("T")
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


def error_of_call(function: Callable[..., Any], *arguments: Any, **named: Any) -> TypeError | None:
    """Return the error that a call with these arguments would raise, without calling.

    None if the function takes them, or does not tell what it takes, as compiled ones may.
    """
    try:
        inspect.signature(function).bind(*arguments, **named)
    except ValueError:
        return None
    except TypeError as error:
        return error
    return None


class Registry(Mapping[str, T]):
    """Objects of one kind by name, in the order in which they were registered.

    Args:
        kind: Name of the kind in settings, e.g. "cell".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}
        self._sources: dict[str, Any] = {}

    def register(self, name: str, thing: T, *, source: Any = None) -> None:
        """Register an object under a name.

        The same class or function may be registered again, e.g. when a module is reloaded.

        Args:
            name: Letters, digits, underscores, dots and hyphens: it becomes part of file names.
            thing: The object.
            source: Class or function that makes the object; if None: the object itself.

        Raises:
            ValueError: If the name has other characters, or is taken by another object.
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
        """Return the object that is registered under a name.

        Args:
            name: Name from a setting or a file.
            setting: Name of the setting, for the error message; if None: the kind.
            module: Module that registers the name according to the file, for the error message.

        Raises:
            ValueError: If the name is unknown; the message gives the nearest known name, or the
                module to import.
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
        """Return the module that registered a name; None if it is part of `ncp_control`."""
        return foreign_module(self._sources[name])

    def __getitem__(self, name: str) -> T:
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def __str__(self) -> str:
        """Return the names as a list for option texts: `gru, lstm or ltc`."""
        *most, last = sorted(self) or ["none yet"]
        return f"{', '.join(most)} or {last}" if most else last


def foreign_module(thing: object) -> str | None:
    """Return the module of a class or function; None if it is part of `ncp_control`."""
    module = getattr(thing, "__module__", None)
    is_ours = module is None or module.partition(".")[0] == "ncp_control"
    return None if is_ours else module


def import_advice(module: object) -> str:
    """Return advice to import the module that registers a name."""
    name = str(module)[:100]
    return f"Import the module {name!r} first: a job does with --import {name}."


def _are_same(one: object, other: object) -> bool:
    """True if both are the same object, or come from the same definition, executed twice."""
    if one is other:
        return True
    name, module = getattr(one, "__qualname__", "<none>"), getattr(one, "__module__", None)
    if "<" in name:  # a lambda or a local function: others may have the same name
        return False
    other_name, other_module = (getattr(other, x, None) for x in ("__qualname__", "__module__"))
    return (name, module) == (other_name, other_module)


def _describe(source: object) -> str:
    """Return module and name of a class or function, for error messages."""
    return f"{getattr(source, '__module__', '')}.{getattr(source, '__qualname__', source)}"
