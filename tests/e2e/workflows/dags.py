"""Two random DAGs with maps and joins. Called plainly, each is its own oracle."""

from random import Random

from celesta import task, unmapped, workflow

MODULUS = 1_000_003


@task(cache=True)
def mix(values: list[int], salt: int) -> int:
    total = salt
    for value in values:
        total = (31 * total + value) % MODULUS
    return total


@task
def spread(value: int, width: int) -> list[int]:
    return [(value + 17 * index) % MODULUS for index in range(width)]


@task(cache=True)
def square(value: int, plus: int) -> int:
    return (value * value + plus) % MODULUS


def tangle(random: Random, seed: int, size: int) -> int:
    """``size`` joins, each over up to four earlier ones; every fifth opens a map over a list made in a step."""
    made = [mix(values=[seed], salt=0)]
    for number in range(1, size):
        parents = random.sample(made, min(len(made), random.randint(1, 4)))
        value = mix(values=parents, salt=number)
        if number % 5 == 0:
            items = spread(value=value, width=random.randint(0, 6))
            value = mix(values=square.map(value=items, plus=unmapped(parents[0])), salt=number)
        made.append(value)
    return mix(values=made, salt=size)


@workflow
def alpha(seed: int = 1) -> int:
    return tangle(Random(11), seed, 40)


@workflow
def beta(seed: int = 1) -> int:
    return tangle(Random(23), seed, 25)
