"""`celesta projects`: tenants, who belongs to them, and the tokens that programs use."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import rich_click as click

from celesta.cli.output import ago, json_option, listing, print_json, project_option, put
from celesta.cli.server import become_program

ROLES = click.Choice(("viewer", "editor", "owner"))


@click.group()
def projects() -> None:
    """Projects, their members and tokens."""


@projects.command("list")
@json_option
def list_projects(as_json: bool) -> None:
    """List the projects you belong to."""
    from celesta.client import Client

    with Client.from_env() as client:
        found = list(client.projects())
    listing(
        found,
        as_json,
        ["project", "description", "created"],
        lambda p: (p["name"], p.get("description") or "", ago(p.get("created_at"))),
        empty="No projects. Make one with `celesta projects create`.",
    )


@projects.command()
@click.argument("name")
@click.option("--description", default="", help="What it is for.")
@json_option
def create(name: str, description: str, as_json: bool) -> None:
    """Make a project; you become its owner."""
    from celesta.client import Client

    with Client.from_env() as client:
        made = client.create_project(name, description)
    if as_json:
        return print_json(made)
    put(f"Project {name} is there. Use it with `--project {name}` or CELESTA_PROJECT={name}.")


@projects.command()
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Print the objects as YAML instead of making them.")
@click.option("--servers", default="celesta", show_default=True, help="Namespace of the servers.")
@click.option("--pods", metavar="N", help="Most pods at a time.")
@click.option("--cpu", metavar="CORES", help="Most processors, as Kubernetes writes them.")
@click.option("--memory", metavar="SIZE", help="Most memory, such as 800Gi.")
@click.option("--gpu", metavar="N", help="Most graphics processors.")
@json_option
def provision(name: str, dry_run: bool, servers: str, as_json: bool, **quota: str | None) -> None:
    """Make the namespace of project NAME in the cluster of your kubeconfig, with quota, network policy and roles.

    For whoever may make namespaces; the servers never need these rights. Harmless when all is there already.
    """
    flags = [*(["--dry-run"] if dry_run else []), *(["--json"] if as_json else [])]
    limits = [word for key, value in quota.items() if value is not None for word in (f"--{key}", value)]
    module = "workers.executors.kubernetes.provision"
    become_program(module, "--servers", servers, *flags, *limits, "--", name)


@projects.command()
@click.argument("receiver", metavar="WITH")
@click.option("--workflow", metavar="NAME", help="This workflow or task only, instead of all of them.")
@project_option
@json_option
def share(receiver: str, workflow: str | None, project: str | None, as_json: bool) -> None:
    """Let project WITH launch the workflows of this one, and refer to them. For owners.

    Over there they are called PROJECT/NAME: see `celesta workflows list --shared`.
    """
    from celesta.client import Client

    with Client.from_env(project) as client:
        done = client.share(receiver, workflow)
        name = client.project
    if as_json:
        return print_json(done)
    put(f"Project {receiver} may use {f'{name}/{workflow}' if workflow else f'all workflows of {name}'}.")


@projects.command()
@click.argument("receiver", metavar="WITH")
@click.option("--workflow", metavar="NAME", help="What was shared by itself.")
@project_option
def unshare(receiver: str, workflow: str | None, project: str | None) -> None:
    """End what `share` began. Versions that refer to a workflow already keep what they were linked to."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        client.unshare(receiver, workflow)
    put(f"Project {receiver} may not use {workflow or 'all workflows'} any more.")


@projects.command()
@project_option
@json_option
def shares(project: str | None, as_json: bool) -> None:
    """List what other projects may use of this one."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        found = list(client.shares())
    listing(
        found,
        as_json,
        ["with", "workflow", "by", "since"],
        lambda one: (one["with"], one["workflow"] or "all", one["created_by"], ago(one["created_at"])),
        empty="Nothing is shared.",
    )


@projects.group()
def members() -> None:
    """Who belongs to the project, and with which role."""


@members.command("list")
@project_option
@json_option
def list_members(project: str | None, as_json: bool) -> None:
    """List members."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        found = list(client.members())
    listing(found, as_json, ["user", "role"], lambda m: (m["user"], m["role"]), empty="No members.")


@members.command("set")
@click.argument("user")
@click.argument("role", type=ROLES)
@project_option
@json_option
def set_member(user: str, role: str, project: str | None, as_json: bool) -> None:
    """Add a member, or change a member's role."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        client.put_member(user, role)
        if as_json:
            return print_json({"user": user, "role": role})
        put(f"{user} is {role} of {client.project}.")


@members.command("remove")
@click.argument("user")
@project_option
@json_option
def remove_member(user: str, project: str | None, as_json: bool) -> None:
    """Remove a member."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        client.delete_member(user)
        if as_json:
            return print_json({"user": user, "removed": True})
        put(f"{user} is no longer a member of {client.project}.")


@projects.group()
def limits() -> None:
    """How many steps may use something at once, over all runs: `@task(limits=["gpu"])`."""


@limits.command("list")
@project_option
@json_option
def list_limits(project: str | None, as_json: bool) -> None:
    """List limits."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        found = list(client.limits())
    listing(found, as_json, ["limit", "places"], lambda one: (one["name"], one["places"]), empty="No limits.")


@limits.command("set")
@click.argument("name")
@click.argument("places", type=int)
@project_option
def set_limit(name: str, places: int, project: str | None) -> None:
    """Set how many steps that name the limit may be at work at once."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        client.put_limit(name, places)
        put(f"At most {places} steps of {client.project} are at work on {name} at once.")


@limits.command("remove")
@click.argument("name")
@project_option
def remove_limit(name: str, project: str | None) -> None:
    """Remove a limit; runs that name it are refused from now on."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        client.delete_limit(name)
        put(f"{client.project} has no limit {name} any more.")


@projects.command()
@click.argument("weight", type=int)
@project_option
def weight(weight: int, project: str | None) -> None:
    """Set the project's share of the workers while others wait too; for the operator of the server."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        client.put_weight(weight)
        put(f"{client.project} has weight {weight} among the projects that wait.")


@projects.group()
def tokens() -> None:
    """Tokens of programs that use the project."""


@tokens.command("list")
@project_option
@json_option
def list_tokens(project: str | None, as_json: bool) -> None:
    """List tokens, without their secrets."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        found = list(client.tokens())
    listing(
        found,
        as_json,
        ["id", "name", "user", "role", "token", "state", "last used"],
        lambda t: (str(t["id"]), t["name"], t["user"], t["role"], f"{t['prefix']}…", state(t), ago(t["last_used_at"])),
        empty="No tokens.",
    )


def state(token: dict[str, Any]) -> str:
    """Whether a token works."""
    if token["revoked_at"]:
        return "revoked"
    over = token["expires_at"] and datetime.fromisoformat(token["expires_at"]) <= datetime.now(UTC)
    return "expired" if over else "works"


@tokens.command("create")
@click.argument("name")
@click.option("--role", type=ROLES, default="editor", show_default=True)
@click.option("--user", default="", help="The member that it speaks for. Default: you.")
@click.option("--all-projects", is_flag=True, help="It works wherever the user is a member; only for yourself.")
@project_option
@json_option
def create_token(name: str, role: str, user: str, all_projects: bool, project: str | None, as_json: bool) -> None:
    """Make a token and print it, this once. It gives no more than its user's own role."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        made = client.create_token(name, role, user, all_projects)
    if as_json:
        return print_json(made)
    put(made["token"])


@tokens.command("delete")
@click.argument("token_id", metavar="ID")
@project_option
@json_option
def delete_token(token_id: str, project: str | None, as_json: bool) -> None:
    """Revoke a token."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        client.delete_token(token_id)
    if as_json:
        return print_json({"id": token_id, "revoked": True})
    put(f"Revoked {token_id}.")
