"""Options of a world, a link or a reader of recordings: read as words, passed on as keywords.

A command line gives `name=value`; `read_options` reads that. What is named takes its options as
keyword arguments of a function; `check_options` refuses what this function does not take, and
`check_needed` that what it cannot do without is missing.
"""

import inspect
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from ncp_control.names import check_name

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def read_options(words: Sequence[str], setting: str = "world_options") -> dict[str, Any]:
    """Read options as a command line gives them: `observe=positions limit=3 is_dark=true`.

    A value is JSON, True or False as Python writes them, or else a text.

    Args:
        words: The options.
        setting: What they are called, for the error.

    Raises:
        ValueError: If a word has no equals sign.
    """
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(
                f"`{setting}` must be words such as name=value, got {word!r}. Write the"
                " option's name, an equals sign and its value."
            )
        try:
            is_pythons = value in ("True", "False")
            options[name] = json.loads(value.lower() if is_pythons else value)
        except ValueError:
            options[name] = value  # a text needs no quotation marks
    return options


def write_options(options: Mapping[str, Any]) -> list[str]:
    """Return options as `read_options` reads them; a text stands without quotation marks.

    Args:
        options: Values that JSON holds, by name.
    """
    words = []
    for name, value in options.items():
        word = f"{name}={value}"
        if not isinstance(value, str) or read_options([word])[name] != value:
            word = f"{name}={json.dumps(value, separators=(',', ':'))}"
        words.append(word)
    return words


def check_options(
    setting: str,
    options: Iterable[str],
    function: Callable[..., Any],
    *,
    besides: Sequence[str] = (),
    given: Collection[str] = (),
) -> None:
    """Refuse options that a function does not take, and suggest the nearest one that it does.

    Args:
        setting: What the options are called, for the error.
        options: Names of the options.
        function: What takes them as keyword arguments.
        besides: Names of further options, which somebody else takes.
        given: Arguments that the function gets anyway, so that they are no options.

    Raises:
        ValueError: If one is neither an argument of the function nor one of `besides`.
    """
    known = [*besides, *(name for name in named_arguments(function) if name not in given)]
    for option in options:
        if option in given or not takes_any(function):
            check_name(setting, option, known)


def check_needed(
    setting: str,
    options: Collection[str],
    function: Callable[..., Any],
    *,
    given: Collection[str] = (),
) -> None:
    """Refuse options without those that a function cannot do without.

    Args:
        setting: What the options are called, for the error.
        options: Names of the options.
        function: What takes them as keyword arguments.
        given: Arguments that the function gets anyway.

    Raises:
        ValueError: If an argument without a default is among neither.
    """
    arguments = inspect.signature(function).parameters
    for name in named_arguments(function):
        if arguments[name].default is inspect.Parameter.empty and name not in {*options, *given}:
            raise ValueError(
                f"`{setting}` must include {name!r}, got {sorted(options)}. Add {name}=VALUE."
            )


def named_arguments(function: Callable[..., Any]) -> list[str]:
    """Return the arguments that a function takes by name, in order."""
    arguments = inspect.signature(function).parameters.values()
    return [argument.name for argument in arguments if argument.kind in _NAMED]


def takes_any(function: Callable[..., Any]) -> bool:
    """True if a function takes keyword arguments of any name."""
    arguments = inspect.signature(function).parameters.values()
    return any(argument.kind is argument.VAR_KEYWORD for argument in arguments)
