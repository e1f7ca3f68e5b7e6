"""The five-minute tour of the README: a map, a join and a cache in twenty lines."""

from celesta import current, task, workflow


@task(cache=True)
def measure(word: str) -> int:
    print(f"measuring {word!r}")
    return len(word)


@task(cache=True)
def summarise(lengths: list[int]) -> float:
    mean = sum(lengths) / len(lengths)
    current().log_metric("mean_length", mean)
    return mean


@workflow
def quickstart(words: list[str] = ["every", "result", "can", "be", "explained"]) -> float:
    """The mean length of some words, each measured in a step of its own."""
    return summarise(lengths=measure.map(word=words))
