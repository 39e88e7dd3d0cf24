"""Words that look like a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near(word: str, *candidates: Iterable[str]) -> str:
    """` (did you mean x?)`, from the first candidates among which there are such words; otherwise nothing."""
    for words in candidates:
        if close := difflib.get_close_matches(word, list(words), n=3, cutoff=0.6):
            return f" (did you mean {' or '.join(close)}?)"
    return ""
