"""Steps in a process, in a container, and a command, in one workflow."""

from pathlib import Path

from celesta import File, container_task, task, workflow

IMAGE = "celesta-test:latest"

copy = container_task(
    "copy", IMAGE, ["cp", "{{inputs.text}}", "{{outputs.result}}"], {"text": File}, {"result": File}, executor="docker"
)


@task(executor="docker", image=IMAGE)
def write(words: str) -> File:
    Path("text").write_text(words)
    return File("text")


@task
def read(text: File) -> str:
    return text.read_text()


@workflow
def boxes(words: str) -> str:
    return read(text=copy(text=write(words=words)))
