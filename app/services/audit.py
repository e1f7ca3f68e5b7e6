"""The record of who did what. Every writing verb calls `record` inside its own transaction: no deed without a line."""

from typing import Any

from app.access import Principal
from app.models import Audit, Project


def record(
    session: Any, principal: Principal, action: str, project: Project | None, object: str, **detail: Any
) -> None:
    """`action` is `noun.verb`; `object` is what people call the thing, never a secret."""
    session.add(
        Audit(
            principal=principal.name,
            action=action,
            project_id=project.id if project else None,
            object=object,
            detail=detail,
        )
    )
