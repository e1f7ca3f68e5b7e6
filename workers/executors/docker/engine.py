"""What the docker executor asks of Docker or Podman besides: to be there, for images, and what was left behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound

from celesta.errors import InputError, StackError
from celesta.runtime.failures import plain_error
from celesta.settings import alive
from workers.executors.base import Document

OWNER = "celesta.dev/owner"
"""The label that says which worker waits for a container: `host:pid`."""
PLACES = ("/var/run/docker.sock", "/run/podman/podman.sock")
TIMEOUT_SECONDS = 60
_NO_PROGRAM = ("executable file not found", "no such file or directory", "not found in $PATH")
"""How the engines say that the command is not in the image."""


def connect(host: str | None) -> Any:
    """A client of the engine at `host` (`unix:///…`), else of one that is found. Raises `StackError`."""
    found = host or next((f"unix://{place}" for place in PLACES if Path(place).exists()), f"unix://{PLACES[0]}")
    if found.startswith("unix://") and not Path(found.removeprefix("unix://")).exists():
        raise StackError(f"no Docker or Podman is here: there is no {found}; start one, or set DOCKER_HOST")
    try:
        client = docker.DockerClient(base_url=found, version="auto", timeout=TIMEOUT_SECONDS)
    except (DockerException, requests.RequestException) as error:  # It asks for the version at once.
        raise StackError(f"no Docker or Podman answers at {found}: {error}; start one, or set DOCKER_HOST") from error
    return client


def require_image(client: Any, image: str) -> None:
    """Has the image on this host. Raises `InputError` when there is none of this name, `StackError` otherwise."""
    try:
        client.images.get(image)
    except ImageNotFound:
        try:
            client.images.pull(image)
        except ImageNotFound as error:
            raise InputError(f"there is no image {image!r}: {error.explanation}; name another, or push it") from error
        except APIError as error:
            raise StackError(f"image {image!r} cannot be pulled: {error.explanation}") from error


def owner() -> str:
    """How this process signs its containers."""
    return f"{os.uname().nodename}:{os.getpid()}"


def remove_orphans(client: Any) -> None:
    """Removes the containers that workers of this host left behind when they were killed."""
    here = os.uname().nodename
    for container in client.containers.list(all=True, filters={"label": OWNER}, ignore_removed=True):
        host, _, pid = container.labels[OWNER].rpartition(":")
        if host == here and pid.isdigit() and not alive(int(pid)):
            try:
                container.remove(force=True, v=True)
            except APIError as error:
                if error.status_code not in (404, 409):
                    raise


def devices(count: int) -> Any:
    """So many graphics processors."""
    return docker.types.DeviceRequest(count=count, capabilities=[["gpu"]])


def trouble(error: Exception, document: Document) -> Document:
    """The error of an attempt whose container could not be started or followed."""
    told = getattr(error, "explanation", None) or str(error)
    if any(words in str(told) for words in _NO_PROGRAM):
        word = document["command"][0] if document["kind"] == "container" else "python3"
        return plain_error("CannotStart", f"{word!r} is not in image {document.get('image')!r}: {told}", "user")
    return plain_error("EngineError", f"the container engine refuses or does not answer: {told}", "system")
