"""What ``rvrt train`` does once its options are read: the plan, the run in this process, or one process per device."""

from __future__ import annotations

import sys
from contextlib import nullcontext

from rvrt_cli.cli import train_view
from rvrt_cli.errors import InterruptedRun
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.train.checkpoint import Tensors
from rvrt_cli.train.engine import RankInfo
from rvrt_cli.train.events import Event
from rvrt_cli.train.job import JobFolder, announce, write_event
from rvrt_cli.train.launch import Cluster, launch
from rvrt_cli.train.loop import run_training
from rvrt_cli.train.plan import plan_training
from rvrt_cli.train.preflight import check_run
from rvrt_cli.train.recipe import Recipe
from rvrt_cli.train.settings import RunSettings
from rvrt_cli.train.stopping import STOPPED_AT_ONCE, StopRequest, ended_by_interrupts


def show_plan(settings: RunSettings, config: ModelConfig, recipe: Recipe, cluster: Cluster) -> None:
    """``--dry-run``: check what a run would need and show what it would cost."""
    with ended_by_interrupts():
        source = check_run(settings, config, recipe, cluster)
    plan = plan_training(config, recipe, source.count_clips(recipe.stages[0].frames), cluster.world)
    train_view.show_plan(plan, settings, recipe, source.name, cluster.world)


def run_alone(
    settings: RunSettings, config: ModelConfig, recipe: Recipe, initial: Tensors | None, stop: StopRequest
) -> None:
    """Train in this process, on one device."""
    try:
        with train_view.TrainView(settings, recipe, stop=stop) as view:
            run_training(settings, config, recipe, initial, view.show, stop=stop)
    except KeyboardInterrupt:  # the command-line library would end without a word
        raise InterruptedRun(STOPPED_AT_ONCE) from None


def run_rank(
    rank_info: RankInfo, settings: RunSettings, config: ModelConfig, recipe: Recipe, initial: Tensors | None
) -> None:
    """One of several processes; the one that started them draws what the first reports."""
    announce(rank_info)
    job = JobFolder.current()
    stop = StopRequest(job.watch_starter()) if job is not None else StopRequest()
    with stop.installed(), job.open_view() if job and rank_info.rank == 0 else nullcontext() as view:

        def report(event: Event) -> None:
            if view is not None:
                write_event(view, event)

        try:
            run_training(settings, config, recipe, initial, report, rank_info, stop)
        except InterruptedRun as stopped:
            # The framework's launcher takes another exit code for a failure; who started it explains.
            if job is not None and rank_info.local_rank == 0:
                job.write_stopped(str(stopped))


def launch_ranks(
    cluster: Cluster, settings: RunSettings, recipe: Recipe, config: ModelConfig, stop: StopRequest
) -> None:
    """Run this command once per device."""
    cluster.check()
    recipe.check(config, cluster.world)
    with train_view.TrainView(settings, recipe, stop=stop) as view:
        # The last --backend counts: what was chosen here holds on every device.
        arguments = [*sys.argv[1:], "--backend", settings.backend]
        launch(settings.backend, cluster, arguments, settings.out / "logs", view.show, stop)
