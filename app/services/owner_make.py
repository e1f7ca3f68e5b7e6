"""Gives a deployment its first owner, or another one. For the operator of a server, never over the network."""

from typing import Any

from app.access import Principal, project_for
from app.models import Token
from app.services.member_set import set_member
from app.services.token_issue import issue_token

MADE_BY = "operator"


def make_owner(session: Any, principal: Principal, project: str, user: str) -> tuple[Token, str]:
    """The user owns the project, and gets one more token, which acts for the user everywhere; its row and its secret.

    Earlier tokens stay. Raises `NotFoundError` for an unknown project and `InputError` for a bad name.
    """
    found = project_for(session, principal, project, "owner")
    set_member(session, principal, found, user, "owner")
    return issue_token(session, principal, found, user, "owner", MADE_BY, all_projects=True)
