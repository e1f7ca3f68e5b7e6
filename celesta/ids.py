"""Run ids: 13 characters that sort by time and that nobody can guess.

Called by the launch of a run and by local runs. 30 bits of seconds since 2024 and 35 random bits, in Crockford's
base 32.
"""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_EPOCH = 1_704_067_200  # 2024-01-01; 30 bits of seconds last until 2058


def new_run_id() -> str:
    """An id for a run that begins now."""
    number = (int(time.time()) - _EPOCH) % (1 << 30) << 35 | secrets.randbits(35)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(60, -1, -5))
