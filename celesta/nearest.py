"""Words for a name that is not known: the nearest one, else all that there are.

Services, the compiler and the CLI end their "there is no …" with it, so that nobody has to look a name up.
"""

import difflib
from collections.abc import Iterable

MOST_NAMED = 20


def nearest(name: str, known: Iterable[str], what: str = "there are") -> str:
    """`did you mean "train"?`, or `there are: load, train` (`none` when there is nothing)."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f'did you mean "{near[0]}"?'
    more = ", …" if len(names) > MOST_NAMED else ""
    return f"{what}: {', '.join(names[:MOST_NAMED]) or 'none'}{more}"
