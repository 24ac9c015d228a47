"""`pixelfactory ray`: the agents on a Ray cluster, also while no service runs."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from comfy_instances.fleet.ray.connection import RayConnection, RayUnavailable, is_ray_installed
from comfy_instances.fleet.ray.values import ClusterState
from orchestrator.cli.terminal.console import CliError, JsonOption, err, print_rows, read_settings

app = typer.Typer(help="List and end the agents on a Ray cluster.", no_args_is_help=True)

AddressOption = Annotated[
    str | None, typer.Option("--ray", help="Address of the cluster; by default PIXELFACTORY_RAY_ADDRESS.")
]


@app.command("list")
def list_(ray: AddressOption = None, json: JsonOption = False) -> None:
    """List the agents of the namespace with their nodes and versions."""
    state = asyncio.run(_get_state(_connect(ray)))
    cards = {node.id: node.card or "" for node in state.nodes}
    rows = []
    for name in state.actors:
        report = state.reports.get(name)
        rows.append(
            {
                "id": name,
                "url": report.url if report else "",
                "node": report.node_id if report else "",
                "card": cards.get(report.node_id, "") if report else "",
                "created by": report.created_by if report else "",
                "code": report.code_version if report else "",
            }
        )
    print_rows(rows, ("id", "url", "node", "card", "created by", "code"), as_json=json)


@app.command()
def down(ray: AddressOption = None) -> None:
    """End all agents of the namespace with their instances; what runs there is lost or repeated elsewhere."""
    ended = asyncio.run(_end_agents(_connect(ray)))
    err.print(f"ended {len(ended)} agent(s): {', '.join(ended)}" if ended else "there are no agents")


def _connect(address: str | None) -> RayConnection:
    """Return a connection to the cluster. Raises CliError."""
    settings = read_settings(ray_address=address)
    if settings.ray_address is None:
        raise CliError("name the cluster with --ray, or set PIXELFACTORY_RAY_ADDRESS")
    if not is_ray_installed():
        raise CliError("this command needs Ray: pip install 'pixel-factory[ray]'")
    return RayConnection(settings.ray_address, settings.ray_namespace)


async def _get_state(cluster: RayConnection) -> ClusterState:
    try:
        return await cluster.get_state(())
    except RayUnavailable as error:
        raise CliError(str(error)) from error
    finally:
        await cluster.close()


async def _end_agents(cluster: RayConnection) -> list[str]:
    try:
        names = list((await cluster.get_state(())).actors)
        for name in names:
            await cluster.kill_actor(name)
    except RayUnavailable as error:
        raise CliError(str(error)) from error
    finally:
        await cluster.close()
    return names
