"""What projects share, as methods of `celesta.client.Client`."""

from __future__ import annotations

from collections.abc import Iterator

from celesta.client.caller import Caller, Document


class Shares(Caller):
    def shares(self) -> Iterator[Document]:
        """What the project lets others use."""
        return self._list(None, "shares")

    def share(self, receiver: str, workflow: str | None = None) -> Document:
        """Lets project `receiver` use a workflow, or all of them."""
        return self._put({"with": receiver, "workflow": workflow}, "shares")

    def unshare(self, receiver: str, workflow: str | None = None) -> None:
        self.http.json("DELETE", self._path("shares", **{"with": receiver, "workflow": workflow}))

    def shared(self) -> Iterator[Document]:
        """What others let the project use."""
        return self._list(None, "shared")

    def shared_workflow(self, owner: str, name: str, version: str | None = None) -> Document:
        return self._get("shared", owner, name, version=version)
