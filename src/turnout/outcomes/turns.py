"""Prompts that a table holds as the text of a Python list of turns, as RouterBench's do."""

from __future__ import annotations

import ast
from typing import Any

LONGEST = 1 << 20  # characters of a prompt that is read as a list


def turns(prompt: Any) -> Any:
    r"""The turns of a list one after another; the same for the text of a list. Anything else comes back as it is.

    >>> print(turns("['Hot, or\\nnot?']"))
    Hot, or
    not?
    """
    if isinstance(prompt, str) and prompt.startswith("[") and len(prompt) <= LONGEST:
        try:
            prompt = ast.literal_eval(prompt)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return prompt
    return "\n".join(map(str, prompt)) if isinstance(prompt, list) else prompt
