"""The command line. It holds no logic: it reads what was asked, calls the package, prints."""

import inspect
import sys

import typer

from tradesys.cli import bench_command as measuring
from tradesys.cli import cluster_commands as clusters
from tradesys.cli import fix_commands as fixes
from tradesys.cli import inspect_command as inspecting
from tradesys.cli import many_runs_commands as batch
from tradesys.cli import market_commands as markets
from tradesys.cli import question_commands as questions
from tradesys.cli import replay_commands as replays
from tradesys.cli import run_folder_commands as folder
from tradesys.cli.printing import tell_error
from tradesys.records.errors import TradesysError

app = typer.Typer(
    help="A broker's order handling, split into systems that keep working while others are down.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

cluster = typer.Typer(help="The same systems on many machines, over NATS.", no_args_is_help=True)

for group, commands in (
    (app, (replays.replay, inspecting.inspect, replays.demo, replays.sample, markets.fit)),
    (app, (folder.status, folder.statement, folder.audit, folder.run, folder.end_of_day)),
    (app, (questions.orders, questions.fills, questions.positions, questions.book, questions.sql)),
    (app, (fixes.fix,)),
    (app, (folder.verify, folder.export, batch.simulate, batch.sweep, measuring.bench)),
    (app, (clusters.serve,)),
    (cluster, (clusters.init, clusters.up, clusters.status, clusters.drain, clusters.add)),
    (cluster, (clusters.demo,)),
):
    for command in commands:
        # Lines are broken where the terminal ends, and not where they are in the code.
        paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
        told = "\n\n".join(" ".join(text.split()) for text in paragraphs)
        group.command(help=told)(command)
app.add_typer(cluster, name="cluster")


def main() -> None:
    """Run the command line; an error that the package foresees is one line, and exit status 2."""
    try:
        app()
    except (TradesysError, OSError) as error:
        tell_error(error)
        sys.exit(2)
