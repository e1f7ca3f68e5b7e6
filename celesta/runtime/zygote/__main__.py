"""`python -m celesta.runtime.zygote SETTINGS`: the base server. Started by workers, not by people."""

import sys

from celesta.runtime.zygote.base import main

if __name__ == "__main__":
    main(sys.argv[1])
