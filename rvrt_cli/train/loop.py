"""The training loop: batches → step → log → validate → save, and what may interrupt it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from rvrt_cli.errors import InterruptedRun, RvrtError
from rvrt_cli.imaging.images import write_png
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.system.files import remove_all_leftovers, translate_write_errors
from rvrt_cli.train.batches import Batch, BatchMaker, BatchStream, open_sources
from rvrt_cli.train.checkpoint import (
    Checkpoint,
    Tensors,
    checkpoint_path,
    newer_checkpoints,
    prune_checkpoints,
    rename_damaged,
    save_checkpoint,
)
from rvrt_cli.train.create_engine import create_engine
from rvrt_cli.train.engine import Engine, RankInfo, StepResult
from rvrt_cli.train.events import Event, Finished, Noted, Saved, Skipped, Started, Stepped, Summary, Validated
from rvrt_cli.train.export import BEST_NAME, LAST_NAME, export_weights, exported_step
from rvrt_cli.train.lock import run_lock
from rvrt_cli.train.logs import CsvLog, StepRow, TensorBoardLog, ValidationRow
from rvrt_cli.train.meter import Meter
from rvrt_cli.train.not_finite import explain_not_finite
from rvrt_cli.train.rank_consistency import check_rank_consistency
from rvrt_cli.train.recipe import Recipe
from rvrt_cli.train.record import continued_record, new_record
from rvrt_cli.train.resume import find_checkpoint
from rvrt_cli.train.settings import RunSettings
from rvrt_cli.train.stopping import StopRequest
from rvrt_cli.train.validate import (
    ValidationClip,
    ValidationResult,
    load_validation,
    predict_within_memory,
    validate,
)

ValidationSets = list[tuple[str, list[ValidationClip]]]


def run_training(
    settings: RunSettings,
    config: ModelConfig,
    recipe: Recipe,
    initial: Tensors | None,
    report: Callable[[Event], None],
    rank_info: RankInfo = RankInfo(),
    stop: StopRequest | None = None,
) -> Summary:
    """Train from the start or, with ``settings.resume``, from the newest checkpoint in ``settings.out``.

    ``initial``: weights to begin with, drawn with the recipe's seed where None. Every device calls this with its own
    ``rank_info``; only rank 0 writes files. Events go to ``report``. ``stop``: asked between steps.

    Errors: :class:`InterruptedRun` after a signal or the time limit, when everything is saved; :class:`NonFiniteError`
    naming the step; those of data, weights, device and disk. The last good checkpoint always stays.
    """
    recipe.check(config, rank_info.world)
    stop = stop or StopRequest()
    with ExitStack() as stack:
        stack.enter_context(stop.installed())
        source = open_sources(settings.sources, settings.cache_mib // max(1, settings.workers))
        find_checkpoint(
            settings, config, recipe
        )  # what cannot be continued is refused before anything is built
        sets = [
            (spec.name, load_validation(spec, config, rank_info.rank, rank_info.world))
            for spec in settings.validation
        ]
        engine = create_engine(
            settings.backend, config, recipe, initial, settings.device, settings.threads, rank_info
        )
        stack.callback(engine.close)
        stop.take_signals()  # again: frameworks install handlers of their own
        if rank_info.rank == 0:
            stack.enter_context(run_lock(settings.out))
        checkpoint = find_checkpoint(settings, config, recipe)  # again: another run may have held the folder
        run = _Run(settings, config, recipe, rank_info, engine, sets, report, stop)
        notes = run.go_on(checkpoint) if checkpoint is not None else []
        check_rank_consistency(engine, rank_info, recipe, run.step, len(source))
        notes += run.prepare_folder(stack)
        report(Started(engine.name, run.step, recipe.steps, source.name, run.record.best, tuple(notes)))
        maker = BatchMaker(source, recipe, config.upscale, rank_info.rank, rank_info.world)
        stream = stack.enter_context(BatchStream(maker, run.step, recipe.steps, settings.workers))
        summary = run.train(stream)
        report(Finished(summary))
        return summary


class _StopNow(Exception):  # noqa: N818 - no error: it ends a validation
    """Raised where a validation is broken off."""


class _Run:
    """The loop's state between steps."""

    def __init__(
        self,
        settings: RunSettings,
        config: ModelConfig,
        recipe: Recipe,
        rank_info: RankInfo,
        engine: Engine,
        sets: ValidationSets,
        report: Callable[[Event], None],
        stop: StopRequest,
    ) -> None:
        self.settings, self.config, self.recipe, self.rank_info = settings, config, recipe, rank_info
        self.engine, self.sets, self.report, self.stop = engine, sets, report, stop
        self.step = self.saved_step = 0
        self.skipped = 0
        self.record = new_record(settings)
        self.began = time.monotonic()
        self.writes = rank_info.rank == 0
        self.alone = rank_info.world == 1
        self.logs: list[Any] = []
        self.validation_logs: list[Any] = []

    def go_on(self, checkpoint: Checkpoint) -> list[str]:
        """Take up the state of a checkpoint; → what is unlike before."""
        self.engine.load_state(checkpoint.state)
        self.step = self.saved_step = checkpoint.step
        self.skipped = checkpoint.state.skipped
        self.record, notes = continued_record(checkpoint.record, checkpoint.step, self.settings)
        return [
            f"other settings than the checkpoint's: {difference}"
            for difference in [*self.recipe.differences(checkpoint.recipe), *notes]
        ]

    def prepare_folder(self, stack: ExitStack) -> list[str]:
        """Tidy the folder and open the logs, on rank 0; rows after the checkpoint are dropped. → what was set aside."""
        if not self.writes:
            return []
        out, checkpoints = self.settings.out, self.settings.out / "checkpoints"
        with translate_write_errors(checkpoints):
            checkpoints.mkdir(parents=True, exist_ok=True)
            for folder in (out, checkpoints):
                remove_all_leftovers(folder)
        notes = [
            f"{path.name} is damaged and was renamed {rename_damaged(path).name}; the run goes on from step {self.step}"
            for path in newer_checkpoints(checkpoints, self.step)
        ]
        self.logs = [CsvLog(out / "log.csv", StepRow, self.step)]
        self.validation_logs = [CsvLog(out / "validation.csv", ValidationRow, self.step)]
        if self.settings.tensorboard:
            board = TensorBoardLog(out / "tensorboard", self.step)
            stack.callback(board.close)
            self.logs.append(board)
            self.validation_logs.append(board)
        return notes

    @property
    def seconds(self) -> float:
        """Trained in all parts of the run."""
        return self.record.seconds + time.monotonic() - self.began

    def train(self, stream: BatchStream) -> Summary:
        """Make the steps that are left; → what came of them."""
        steps = self.recipe.steps
        broken_off = self.settings.validates_at(self.step, steps) and self.record.validated_step < self.step
        if broken_off and not self._validate():
            self._leave()
        meter = Meter(self.settings, self.recipe, self.rank_info, self.engine, stream, self.step)
        for batch in self._batches(stream):
            if self.alone and self._asked():
                self._leave()
            result = self._make_step(batch, meter, stream.maker)
            paused = time.monotonic()
            due = self.settings.validates_at(self.step, steps)
            broken_off = due and not self._validate()
            asked = result.stop or (self.alone and bool(self._asked()))
            if broken_off or (asked and self.step < steps):
                self._leave()
            if self.step == steps or self.step % self.settings.save_interval == 0:
                self._save()
            meter.leave_out(time.monotonic() - paused, due)
        if self.writes and exported_step(self.settings.out / LAST_NAME) != self.step:
            self._export(LAST_NAME)  # the run was killed after its last checkpoint
        step_s, data_wait, memory_mib = meter.totals()
        return Summary(
            self.step, self.seconds, step_s, data_wait, memory_mib, self.record.best, self.engine.name,
            self.settings.out / LAST_NAME, self.rank_info.world, self.settings.machines,
        )  # fmt: skip

    def _batches(self, stream: BatchStream) -> Iterator[Batch]:
        """Those of the stream. Where one cannot be made (a damaged file), the steps so far are saved before the run ends."""
        try:
            yield from stream
        except RvrtError:
            if self.alone and self.step != self.saved_step:
                self._save()
            raise

    def _make_step(self, batch: Batch, meter: Meter, maker: BatchMaker) -> StepResult:
        lr = self.recipe.lr_at(batch.step)
        flow_lr = self.recipe.flow_lr_at(batch.step)
        result = self.engine.step(batch.lq, batch.gt, lr, flow_lr, bool(self._asked()))
        self.step = batch.step + 1
        if not result.finite:
            if result.scale == 1.0:
                raise explain_not_finite(
                    self.step, result, maker, self.engine, self.rank_info, self.settings.out
                )
            self.skipped += 1
            self.report(Skipped(self.step, self.skipped))
        seconds, left_s = meter.add(self.step, batch, result)
        row = meter.row(lr, self.skipped)
        if row is not None:
            for log in self.logs:
                log.write(row)
        self.report(Stepped(self.step, result.loss, lr, seconds, left_s, row))
        return result

    def _asked(self) -> str:
        """Why the run should stop, or an empty string."""
        limit = self.settings.time_limit_s
        late = limit > 0 and time.monotonic() - self.began > limit
        return self.stop.asked() or ("the time limit" if late else "")

    def _leave(self) -> NoReturn:
        """Save and stop."""
        if self.step != self.saved_step:
            self._save()
        if not self.alone:
            self.engine.reduce(np.zeros(1))  # nobody leaves before rank 0 has saved
        when = (
            f"after step {self.step} of {self.recipe.steps}; everything is saved"
            if self.step
            else "before the first step"
        )
        raise InterruptedRun(
            f"Stopped by {self._asked() or 'another device'} {when}: run the same command with --resume auto to continue."
        )

    def _validate(self) -> bool:
        """Measure all sets, every rank its clips, and keep the best weights; → False where it was broken off."""
        results = []
        folder = self.settings.out / "samples" / f"{self.step:08d}"

        def predict(lq: np.ndarray) -> np.ndarray:
            if self.alone and self._asked():  # several devices must first agree to stop, in a step
                raise _StopNow
            return predict_within_memory(
                self.engine.predict, lq, self.config.upscale, lambda text: self.report(Noted(text))
            )

        def keep(name: str, picture: np.ndarray) -> None:
            if self.settings.samples and self.writes:
                with translate_write_errors(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                write_png(folder / f"{name}.png", picture)

        for name, clips in self.sets:
            try:
                rows = validate(name, clips, predict, keep)
            except _StopNow:
                return False
            sums = np.array([[psnr, bicubic, 1.0] for _, psnr, bicubic in rows] or [[0.0, 0.0, 0.0]]).sum(0)
            psnr_y, bicubic, count = self.engine.reduce(sums)
            results.append(ValidationResult(name, float(psnr_y / count), float(bicubic / count), tuple(rows)))
        mean = float(np.mean([result.psnr_y for result in results]))
        improved = self.record.best is None or mean > self.record.best
        best = mean if improved or self.record.best is None else self.record.best
        self.record = replace(
            self.record,
            best=best,
            best_step=self.step if improved else self.record.best_step,
            validated_step=self.step,
            metrics={r.name: {"psnr_y": r.psnr_y, "bicubic": r.bicubic} for r in results},
        )
        if self.writes:
            for log in self.validation_logs:
                for r in results:
                    log.write(ValidationRow(self.step, r.name, r.psnr_y, r.bicubic, best))
            if improved:
                self._export(BEST_NAME)
        self.report(Validated(self.step, tuple(results), best, improved))
        return True

    def _save(self) -> None:
        self.saved_step = self.step
        if not self.writes:
            return
        state = self.engine.state()
        folder = self.settings.out / "checkpoints"
        record = replace(self.record, seconds=self.seconds).to_dict()
        path = checkpoint_path(folder, self.step)
        save_checkpoint(path, Checkpoint(self.step, self.config, self.recipe, state, record))
        prune_checkpoints(folder, self.settings.keep, self.step)
        self._export(LAST_NAME, state.ema or state.weights)
        self.report(Saved(path))

    def _export(self, name: str, weights: Tensors | None = None) -> None:
        """Write the (averaged) weights with everything that a reader should know about them."""
        if weights is None:
            state = self.engine.state()
            weights = state.ema or state.weights
        export_weights(
            self.settings.out / name, self.config, weights, self.recipe,
            model=self.settings.model, step=self.step, seconds=self.seconds, metrics=self.record.metrics,
            data=list(self.settings.data), initial=self.record.initial, engine=self.engine.name,
            command=self.settings.command,
        )  # fmt: skip
