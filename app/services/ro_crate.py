"""The description of an exported run as an RO-Crate 1.1 with the profiles of workflow runs. Pure.

Called by `run_export`. Readers of RO-Crates find the workflow, who ran it when, what went in and what came out; ours
finds the SHA-256 of every file.
"""

from collections.abc import Mapping
from typing import Any

from celesta.codecs import shown

CONTEXT = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}]
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
STATUS = {"succeeded": "CompletedActionStatus", "failed": "FailedActionStatus", "cancelled": "FailedActionStatus"}
Document = dict[str, Any]


def crate(run: Document, inputs: Document, outputs: Document, files: Mapping[str, tuple[str, int]]) -> Document:
    """The metadata document. `run` is a run document; `inputs` and `outputs` are references; `files` has the SHA-256
    and the size in bytes of every file by its name in the archive."""
    values = {f"#input/{name}": (name, ref) for name, ref in inputs.items()}
    values |= {f"#output/{name}": (name, ref) for name, ref in outputs.items()}
    return {
        "@context": CONTEXT,
        "@graph": [
            *_frame(run, files),
            *_action(run, inputs, outputs),
            *(_value(key, name, ref) for key, (name, ref) in values.items()),
            *(_file(name, digest, size) for name, (digest, size) in sorted(files.items())),
        ],
    }


def _frame(run: Document, files: Mapping[str, Any]) -> list[Document]:
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Run {run['run_id']} of {run['workflow']}",
        "description": f"Version {run['version']} of the workflow {run['workflow']}, run by {run['created_by']}",
        "datePublished": run["finished_at"],
        "conformsTo": [{"@id": profile} for profile in PROFILES],
        "hasPart": [{"@id": name} for name in sorted(files)],
        "mainEntity": {"@id": "spec.json"},
        "mentions": {"@id": "#run"},
    }
    metadata = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": [{"@id": "https://w3id.org/ro/crate/1.1"}],
        "about": {"@id": "./"},
    }
    profiles = [{"@id": key, "@type": "CreativeWork", "name": name} for key, name in PROFILES.items()]
    language = {"@id": "#celesta", "@type": "ComputerLanguage", "name": "Celesta"}
    return [metadata, root, *profiles, language]


def _action(run: Document, inputs: Document, outputs: Document) -> list[Document]:
    workflow = {
        "@id": "#workflow",
        "@type": "CreativeWork",
        "name": run["workflow"],
        "version": run["version"],
    }
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"Run {run['run_id']}",
        "instrument": {"@id": "spec.json"},
        "agent": {"@id": "#agent"},
        "startTime": run["started_at"] or run["created_at"],
        "endTime": run["finished_at"],
        "actionStatus": {"@id": f"http://schema.org/{STATUS[run['status']]}"},
        "object": [{"@id": f"#input/{name}"} for name in inputs],
        "result": [{"@id": f"#output/{name}"} for name in outputs],
    }
    return [workflow, action, {"@id": "#agent", "@type": "Person", "name": run["created_by"]}]


def _value(key: str, name: str, ref: Document) -> Document:
    told = {"@id": key, "@type": "PropertyValue", "name": name, "additionalType": ref["type"]}
    if "blob" in ref:
        digest = ref["blob"]
        return told | {"value": {"@id": f"blobs/sha256/{digest[:2]}/{digest}"}}
    return told | {"value": shown(ref)}


def _file(name: str, digest: str, size: int) -> Document:
    told: Document = {"@id": name, "@type": "File", "sha256": digest, "contentSize": str(size)}
    if name == "spec.json":
        kinds = ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
        return told | {"@type": kinds, "name": "The workflow as data", "programmingLanguage": {"@id": "#celesta"}}
    if name.endswith(".json"):
        return told | {"encodingFormat": "application/json"}
    return told
