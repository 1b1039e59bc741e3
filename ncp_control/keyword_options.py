"""Options of worlds, links and readers of recordings, as `name=value` words of a command line.

`read_options` parses the words. The options become keyword arguments of a function: `check_options`
refuses options that the function does not take, and `check_needed` finds missing ones.
"""

import inspect
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from ncp_control.names import check_name

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def read_options(words: Sequence[str], setting: str = "world_options") -> dict[str, Any]:
    """Parse options from a command line: `observe=positions limit=3 is_dark=true`.

    A value is parsed as JSON, or as True or False; anything else is text.

    Args:
        words: Words of the form name=value.
        setting: Name of the setting, for the error message.

    Raises:
        ValueError: If a word is not of the form name=value.
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
            word = f"{name}={json.dumps(value, separators=(',', ':'), default=_plain)}"
        words.append(word)
    return words


def _plain(value: Any) -> Any:
    """Return a value that JSON cannot hold as one that it can."""
    return value.item() if hasattr(value, "item") else str(value)


def check_options(
    setting: str,
    options: Iterable[str],
    function: Callable[..., Any],
    *,
    besides: Sequence[str] = (),
    given: Collection[str] = (),
) -> None:
    """Check that a function takes all options; the error suggests the nearest known name.

    Args:
        setting: Name of the setting, for the error message.
        options: Names of the options.
        function: Function that takes the options as keyword arguments.
        besides: Names of further valid options, which the function does not take itself.
        given: Arguments that the caller passes itself, so that they are not options.

    Raises:
        ValueError: If an option is neither an argument of the function nor in `besides`.
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
    """Check that options include all required arguments of a function.

    Args:
        setting: Name of the setting, for the error message.
        options: Names of the options.
        function: Function that takes the options as keyword arguments.
        given: Arguments that the caller passes itself.

    Raises:
        ValueError: If an argument without a default is in neither `options` nor `given`.
    """
    arguments = inspect.signature(function).parameters
    for name in named_arguments(function):
        if arguments[name].default is inspect.Parameter.empty and name not in {*options, *given}:
            raise ValueError(
                f"`{setting}` must include {name!r}, got {sorted(options)}. Add {name}=VALUE."
            )


def named_arguments(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's keyword arguments, in order."""
    arguments = inspect.signature(function).parameters.values()
    return [argument.name for argument in arguments if argument.kind in _NAMED]


def takes_any(function: Callable[..., Any]) -> bool:
    """True if a function takes keyword arguments of any name."""
    arguments = inspect.signature(function).parameters.values()
    return any(argument.kind is argument.VAR_KEYWORD for argument in arguments)
