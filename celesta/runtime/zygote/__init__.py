"""Warm processes: a step starts as the fork of one that has imported the user's code already.

    worker main process ──control pipe──> base server            (`base`: lean; one per worker)
                                            └─ bundle zygote     (`bundle`: one per bundle, environment and module)
                                                 └─ step child   (`child`: one per attempt, forked ahead)

A client (a Celery prefork child) sends the base one end of a socket pair, its *lane* to a bundle zygote. On the lane it
asks for step children, each of which comes as a socket of its own; the step document goes straight to it, and its
result comes straight back. Each level ends with the one above it, and takes everything below along.
"""
