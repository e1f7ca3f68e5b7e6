"""All tables, one module per aggregate; see `docs/contracts.md` section 11.

Services and read-only queries import from here. What a run does is written by the recorder alone: its `Step`,
`Attempt`, `Artifact`, `Lineage`, `Metric` and `CacheEntry` rows, and its state after its start. A run that ended
elsewhere comes whole, from `run_import`; cache entries are pinned by `cache_keep` and deleted by `cache_evict`.
"""

from app.models.answer import Answer
from app.models.artifact import Artifact, Lineage
from app.models.audit import Audit
from app.models.cache import CacheEntry
from app.models.identity import Member, Project, Token, UserAccount
from app.models.model import AliasMove, GuardedAlias, Model, ModelAlias, ModelVersion
from app.models.offset import StreamOffset
from app.models.run import ORIGIN_KINDS, RUN_STATUSES, RUN_TERMINAL, Run, RunInput
from app.models.schedule import Schedule, ScheduleFire
from app.models.share import Share
from app.models.step import INSIDE, STEP_STATES, STEP_TERMINAL, Attempt, Metric, Step
from app.models.upload import Upload
from app.models.workflow import Activation, Version, Workflow

__all__ = [
    "INSIDE",
    "ORIGIN_KINDS",
    "RUN_STATUSES",
    "RUN_TERMINAL",
    "STEP_STATES",
    "STEP_TERMINAL",
    "Activation",
    "AliasMove",
    "Answer",
    "Artifact",
    "Attempt",
    "Audit",
    "CacheEntry",
    "GuardedAlias",
    "Lineage",
    "Member",
    "Metric",
    "Model",
    "ModelAlias",
    "ModelVersion",
    "Project",
    "Run",
    "RunInput",
    "Schedule",
    "ScheduleFire",
    "Share",
    "Step",
    "StreamOffset",
    "Token",
    "Upload",
    "UserAccount",
    "Version",
    "Workflow",
]
