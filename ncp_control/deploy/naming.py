"""Names and choices that all exporters check; imports nothing heavy."""

import re
from typing import Literal, get_args

HeadWeights = Literal["float32", "int8"]
HEAD_WEIGHTS = get_args(HeadWeights)
"""Formats in which the weights of a conv head may be stored in C."""
_KEYWORDS = """
alignas alignof and and_eq asm auto bitand bitor bool
break case catch char char8_t char16_t char32_t class co_await co_return co_yield compl concept
const const_cast consteval constexpr constinit continue decltype default delete do double
dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable
namespace new noexcept not not_eq nullptr operator or or_eq private protected public register
reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast
struct switch template this thread_local throw true try typedef typeid typename
typeof union unsigned using virtual void volatile wchar_t while xor xor_eq
"""
_HEADERS = """
arm_acle assert complex ctype errno features fenv float inttypes iso646 limits locale math setjmp
signal stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath
threads time uchar unistd wchar wctype
"""
"""Headers of the C library: `controller.h` must not hide one."""
_OWN = "cell closed_form gru main mixed sub"
"""Words before `_step` and the like in the C code itself, and the usual name of a program."""
_TAKEN = frozenset(f"{_KEYWORDS} {_HEADERS} {_OWN}".split())


def check_prefix(name: str) -> None:
    """Check that a name can be the prefix of C functions and of files.

    Raises:
        ValueError: If the name is not valid.
    """
    is_word = re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) is not None
    if not is_word or name in _TAKEN or name.endswith(("_test", "_pipe")):
        raise ValueError(
            "`name` must be small letters, digits and underscores, and no word of C, C++, their"
            f" headers or the exported code, and must not end in _test or _pipe, got {name!r}. It"
            " begins the names of files and of C functions, e.g. controller."
        )
