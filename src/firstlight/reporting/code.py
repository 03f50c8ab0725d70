"""Whether a cure can be pasted."""

from __future__ import annotations

import ast
import textwrap
import warnings


def is_code(text: str) -> bool:
    """Whether a cure is Python to be pasted; prose does not parse, and a bare word is not code.

    >>> is_code("fl.initialize(model, batch)"), is_code("Use a norm."), is_code("Nothing")
    (True, False, False)
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ast warns of odd escapes in other people's strings
            body = ast.parse(textwrap.dedent(text)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not isinstance(s, ast.Expr) or isinstance(s.value, ast.Call) for s in body)
