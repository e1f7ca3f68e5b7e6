"""The program that fulfils the step contract (`docs/contracts.md`, section 6) for Python tasks.

`context` is what a step may ask about itself; `call` makes one call of a function from references to references (and is
what `celesta.local` uses in its own process); `enter` and `leave` give a step a process of its own and end it; `step`
joins them. `python -m celesta.runtime DOCUMENT` runs one step; `zygote` forks warm processes for many.

Standard library only at import: codecs and stores load when a value or a URL needs them.
"""
