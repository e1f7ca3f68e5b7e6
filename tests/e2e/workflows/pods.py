"""Steps for pods: what they compute, how they fail, and how long they stay."""

import os
import time

from celesta import File, container_task, current, task, workflow

shout = container_task(
    "shout", os.environ.get("SHOUT_IMAGE", "busybox"),
    ["sh", "-c", "tr a-z A-Z < {{inputs.text}} > {{outputs.loud}}; echo shouted"],
    inputs={"text": File}, outputs={"loud": File},
)  # fmt: skip


@task(cache=True)
def whisper(word: str) -> File:
    print(f"whispering {word}")
    with open("text.txt", "w") as file:
        file.write(word)
    return File("text.txt")


@task
def read(file: File) -> str:
    current().log_metric("size", os.path.getsize(file.path))
    return open(file.path).read()


@workflow
def echo(word: str = "celesta") -> str:
    """Python, a command in an image, Python again."""
    return read(file=shout(text=whisper(word=word)).loud)


@task(secrets=["THE_PASSWORD"])
def secret() -> int:
    return len(current().secret("THE_PASSWORD"))


@task
def leave(status: int = 3) -> int:
    print("last words", flush=True)
    os._exit(status)


@task
def fail() -> int:
    raise ValueError("no luck")


@task
def stay(seconds: float = 60.0) -> int:
    print("here to stay", flush=True)
    time.sleep(seconds)
    return 1


@task(timeout=2)
def too_long() -> int:
    time.sleep(60)
    return 1


too_long_a_command = container_task("too_long_a_command", "busybox", ["sleep", "60"], timeout=2)
