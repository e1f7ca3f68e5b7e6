"""Models and their aliases, as methods of `celesta.client.Client`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from celesta.client.caller import Caller, Document


class Models(Caller):
    def models(self, limit: int | None = None) -> Iterator[Document]:
        return self._list(limit, "models")

    def model(self, name: str) -> Document:
        return self._get("models", name)

    def model_versions(self, name: str, limit: int | None = None) -> Iterator[Document]:
        return self._list(limit, "models", name, "versions")

    def model_version(self, name: str, version: str) -> Document:
        """The version of a number, or the one that an alias points to."""
        return self._get("models", name, "versions", version)

    def register_model(
        self,
        name: str,
        *,
        artifact: int | None = None,
        run: str | None = None,
        output: str | None = None,
        notes: str = "",
        metrics: Mapping[str, float] | None = None,
    ) -> Document:
        """The next version of a model, from an artifact or from an output of a run."""
        source = {"artifact": artifact, "run": run, "output": output}
        return self._post(source | {"notes": notes, "metrics": dict(metrics or {})}, "models", name, "versions")

    def move_alias(self, name: str, alias: str, version: str, note: str = "") -> Document:
        """The move, whose `state` is `pending` where an owner has to approve; not `made` where it points already."""
        path = self._path("models", name, "aliases", alias)
        return dict(self.http.json("PUT", path, {"version": version, "note": note}))

    def roll_back_alias(self, name: str, alias: str) -> Document:
        return self._post({}, "models", name, "aliases", alias, "rollback")

    def decide_move(self, name: str, move: int, approve: bool) -> Document:
        return self._post({"approve": approve}, "models", name, "moves", str(move))

    def guarded_aliases(self) -> list[str]:
        return list(self._get("guarded-aliases")["items"])

    def guard_alias(self, alias: str, guarded: bool = True) -> list[str]:
        path = self._path("guarded-aliases", alias)
        return list(self.http.json("PUT", path, {"guarded": guarded})["items"])
