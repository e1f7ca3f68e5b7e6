"""Which of the digests that somebody names belong to a project, on both databases."""

import pytest

from app.config import Config
from app.db import db, writing
from app.models import Project
from app.services.blob_access import note, without_access
from celesta.hashing import digest_of

OURS, UNKNOWN = digest_of(b"ours"), digest_of(b"unknown")


@pytest.mark.parametrize("none", ["", "\0", "\ud800", "x" * 100_000, OURS.upper(), OURS + "\n"])
def test_what_is_no_digest_belongs_to_nobody(context: Config, none: str) -> None:
    project = db.session.query(Project).one()
    with writing(db.session):
        note(db.session, project.id, [OURS])
    assert without_access(db.session, [project.id], [OURS, UNKNOWN, none]) == {UNKNOWN, none}
