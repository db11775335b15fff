"""The training loop: batches → step → log → validate → save, and what may interrupt it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rvrt_cli.data.images import write_png
from rvrt_cli.errors import InterruptedRun, NonFiniteError, OutputError, WeightsError
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.train.batches import Batch, BatchMaker, BatchStream, SourceSpec, open_sources
from rvrt_cli.train.checkpoint import (
    Checkpoint,
    Tensors,
    checkpoint_path,
    list_checkpoints,
    load_latest,
    prune_checkpoints,
    save_checkpoint,
)
from rvrt_cli.train.engine import Engine, Place, create_engine
from rvrt_cli.train.export import export_weights
from rvrt_cli.train.logs import CsvLog, StepRow, TensorBoardLog, ValidationRow
from rvrt_cli.train.recipe import Recipe
from rvrt_cli.train.validate import ValidationResult, ValidationSpec, load_validation, validate

LAST_NAME = "last.safetensors"
BEST_NAME = "best.safetensors"


@dataclass(frozen=True)
class RunSettings:
    """Where a run happens and what it reports; nothing here changes the weights of an fp32 run."""

    out: Path
    model: str
    sources: tuple[SourceSpec, ...]
    validation: tuple[ValidationSpec, ...] = ()
    backend: str = "torch"
    device: str = "auto"
    threads: int = 0
    """CPU threads of this process; 0 for the framework's choice."""
    workers: int = 1
    """Data processes per device; 0 makes batches in the training process."""
    resume: bool = False
    val_interval: int = 1000
    save_interval: int = 1000
    log_interval: int = 10
    keep: int = 3
    """Checkpoints that stay."""
    tensorboard: bool = False
    samples: bool = True
    """Write pictures at each validation."""
    time_limit_s: float = 0.0
    """Save and stop after so many seconds; 0 for no limit."""
    initial_label: str = "random"
    command: str = ""
    """The command line, for the exported weights' metadata."""


@dataclass(frozen=True)
class Started:
    """A run begins or goes on after ``step`` steps."""

    engine: str
    step: int
    steps: int
    data: str
    differences: tuple[str, ...] = ()
    """Settings that differ from those of the checkpoint."""


@dataclass(frozen=True)
class Stepped:
    """Each step; ``row`` at every ``log_interval``-th."""

    step: int
    loss: float
    row: StepRow | None = None


@dataclass(frozen=True)
class Validated:
    """A validation; ``best`` is the best mean Y-PSNR over all sets so far."""

    step: int
    results: tuple[ValidationResult, ...]
    best: float
    improved: bool


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written."""

    path: Path


@dataclass(frozen=True)
class Skipped:
    """A step was skipped because of a non-finite gradient under fp16."""

    step: int
    total: int


Event = Started | Stepped | Validated | Saved | Skipped


@dataclass(frozen=True)
class Summary:
    """A finished run."""

    steps: int
    seconds: float
    """Trained in all its parts."""
    step_s: float
    """Mean seconds per step of this part."""
    data_wait: float
    memory_mib: float
    best: float | None
    engine: str
    weights: Path


class _StopFlag:
    """Set by SIGTERM and the first Ctrl+C; a second Ctrl+C interrupts at once."""

    def __init__(self) -> None:
        self.reason = ""

    @contextmanager
    def installed(self) -> Iterator[None]:
        def ask(number: int, _: Any) -> None:
            if self.reason and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.reason = signal.Signals(number).name

        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_training(
    settings: RunSettings,
    config: ModelConfig,
    recipe: Recipe,
    initial: Tensors | None,
    report: Callable[[Event], None],
    place: Place = Place(),
) -> Summary:
    """Train from the start or, with ``settings.resume``, from the newest checkpoint in ``settings.out``.

    ``initial``: weights to begin with, drawn with the recipe's seed where None. Every device calls this with its own
    ``place``; only rank 0 writes files. Events go to ``report``.

    Errors: :class:`InterruptedRun` after a signal or the time limit, when everything is saved; :class:`NonFiniteError`
    naming the step; those of data, weights, device and disk. The last good checkpoint always stays.
    """
    recipe.check(config, place.world)
    source = open_sources(settings.sources)
    checkpoint = _find_checkpoint(settings, config, recipe)
    sets = [
        (spec.name, load_validation(spec, config.upscale, place.rank, place.world))
        for spec in settings.validation
    ]
    stop = _StopFlag()
    with ExitStack() as stack:
        engine = create_engine(
            settings.backend, config, recipe, initial, settings.device, settings.threads, place
        )
        stack.callback(engine.close)
        stack.enter_context(stop.installed())  # after the framework, which may install handlers of its own
        run = _Run(settings, config, recipe, place, engine, sets, report)
        if checkpoint is not None:
            run.go_on(checkpoint)
        run.open_logs(stack)
        differences = () if checkpoint is None else tuple(recipe.differences(checkpoint.recipe))
        report(Started(engine.name, run.step, recipe.steps, source.name, differences))
        maker = BatchMaker(source, recipe, config.upscale, place.rank, place.world)
        stream = stack.enter_context(BatchStream(maker, run.step, recipe.steps, settings.workers))
        return run.train(stream, stop)


def _find_checkpoint(settings: RunSettings, config: ModelConfig, recipe: Recipe) -> Checkpoint | None:
    folder = settings.out / "checkpoints"
    if not settings.resume:
        if list_checkpoints(folder):
            raise OutputError(
                f"{settings.out} already holds a training run; continue it with --resume auto or choose another --out."
            )
        return None
    checkpoint = load_latest(folder)
    if checkpoint is not None and checkpoint.config != config:
        raise WeightsError(
            f"The checkpoints in {folder} belong to another architecture than {settings.model}; "
            "resume with the --model that they were made with or choose another --out."
        )
    if checkpoint is not None and checkpoint.step > recipe.steps:
        raise OutputError(
            f"The run in {settings.out} has already made {checkpoint.step} steps, more than the {recipe.steps} asked for; "
            "give more --steps or choose another --out."
        )
    return checkpoint


class _Run:
    """The loop's state between steps."""

    def __init__(
        self,
        settings: RunSettings,
        config: ModelConfig,
        recipe: Recipe,
        place: Place,
        engine: Engine,
        sets: list[tuple[str, list[Any]]],
        report: Callable[[Event], None],
    ) -> None:
        self.settings, self.config, self.recipe, self.place = settings, config, recipe, place
        self.engine, self.sets, self.report = engine, sets, report
        self.step = 0
        self.best: float | None = None
        self.best_step = 0
        self.skipped = 0
        self.metrics: dict[str, dict[str, float]] = {}
        self.seconds_before = 0.0
        self.began = time.monotonic()
        self.writes = place.rank == 0
        self.logs: list[Any] = []
        self.validation_logs: list[Any] = []
        if self.writes:
            try:
                (settings.out / "checkpoints").mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(
                    f"{settings.out} cannot be made a folder: {error.strerror}; choose another --out."
                ) from error

    def go_on(self, checkpoint: Checkpoint) -> None:
        """Take up the state of a checkpoint."""
        self.engine.load_state(checkpoint.state)
        self.step = checkpoint.step
        self.skipped = checkpoint.state.skipped
        self.best = checkpoint.record.get("best")
        self.best_step = checkpoint.record.get("best_step", 0)
        self.metrics = checkpoint.record.get("metrics", {})
        self.seconds_before = checkpoint.record.get("seconds", 0.0)

    def open_logs(self, stack: ExitStack) -> None:
        """Open the log files on rank 0; rows after the checkpoint are dropped."""
        if not self.writes:
            return
        self.logs = [CsvLog(self.settings.out / "log.csv", StepRow, self.step)]
        self.validation_logs = [CsvLog(self.settings.out / "validation.csv", ValidationRow, self.step)]
        if self.settings.tensorboard:
            board = TensorBoardLog(self.settings.out / "tensorboard", self.step)
            stack.callback(board.close)
            self.logs.append(board)
            self.validation_logs.append(board)

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.began

    def train(self, stream: BatchStream, stop: _StopFlag) -> Summary:
        first, steps = self.step, self.recipe.steps
        meter = _Meter(self, stream)
        began = time.monotonic()
        for batch in stream:
            if self.settings.time_limit_s and time.monotonic() - self.began > self.settings.time_limit_s:
                stop.reason = stop.reason or "the time limit"
            result = self.engine.step(
                batch.lq,
                batch.gt,
                self.recipe.lr_at(batch.step),
                self.recipe.flow_lr_at(batch.step),
                bool(stop.reason),
            )
            self.step = batch.step + 1
            if not result.finite:
                self._not_finite(batch, result.loss, result.grad_norm)
            self.report(Stepped(self.step, result.loss, meter.add(result.loss, result.grad_norm, batch)))
            last = self.step == steps
            paused = time.monotonic()
            if self.sets and (last or self.step % self.settings.val_interval == 0):
                self._validate()
            if last or result.stop or self.step % self.settings.save_interval == 0:
                self._save()
            meter.leave_out(time.monotonic() - paused)
            if result.stop and not last:
                self.engine.reduce(np.zeros(1))  # nobody leaves before rank 0 has saved
                raise InterruptedRun(
                    f"Stopped by {stop.reason or 'another device'} after step {self.step} of {steps}; everything is saved: "
                    "run the same command with --resume auto to continue."
                )
        done = max(1, self.step - first)
        elapsed = time.monotonic() - began - meter.left_out_s
        return Summary(
            self.step, self.seconds, elapsed / done, stream.waited_s / max(elapsed, 1e-9),
            self.engine.peak_memory_mib(), self.best, self.engine.name, self.settings.out / LAST_NAME,
        )  # fmt: skip

    def _not_finite(self, batch: Batch, loss: float, grad_norm: float) -> None:
        if self.recipe.precision != "fp16":
            what = f"loss is {loss}" if not np.isfinite(loss) else f"gradient's norm is {grad_norm}"
            raise NonFiniteError(
                f"The {what} at step {self.step} (seed {self.recipe.seed}, batch {batch.step}, clips 0 to "
                f"{self.recipe.stage_at(batch.step).batch - 1}); resume from the last checkpoint with a smaller --lr or with --clip-grad."
            )
        self.skipped += 1
        self.report(Skipped(self.step, self.skipped))

    def _validate(self) -> None:
        """Measure all sets, every rank its clips, and keep the best weights."""
        results = []
        folder = self.settings.out / "samples" / f"{self.step:08d}"

        def keep(name: str, picture: np.ndarray) -> None:
            if self.settings.samples:
                folder.mkdir(parents=True, exist_ok=True)
                write_png(folder / f"{name}.png", picture)

        for name, clips in self.sets:
            rows = validate(name, clips, self.engine.predict, keep)
            sums = np.array([[psnr, bicubic, 1.0] for _, psnr, bicubic in rows] or [[0.0, 0.0, 0.0]]).sum(0)
            psnr_y, bicubic, count = self.engine.reduce(sums)
            results.append(ValidationResult(name, float(psnr_y / count), float(bicubic / count), tuple(rows)))
        mean = float(np.mean([result.psnr_y for result in results]))
        improved = self.best is None or mean > self.best
        if improved:
            self.best, self.best_step = mean, self.step
        assert self.best is not None
        self.metrics = {r.name: {"psnr_y": r.psnr_y, "bicubic": r.bicubic} for r in results}
        if self.writes:
            for log in self.validation_logs:
                for r in results:
                    log.write(ValidationRow(self.step, r.name, r.psnr_y, r.bicubic, self.best))
            if improved:
                self._export(BEST_NAME)
        self.report(Validated(self.step, tuple(results), self.best, improved))

    def _save(self) -> None:
        if not self.writes:
            return
        state = self.engine.state()
        folder = self.settings.out / "checkpoints"
        record = {
            "best": self.best,
            "best_step": self.best_step,
            "metrics": self.metrics,
            "seconds": self.seconds,
            "model": self.settings.model,
        }
        path = checkpoint_path(folder, self.step)
        save_checkpoint(path, Checkpoint(self.step, self.config, self.recipe, state, record))
        prune_checkpoints(folder, self.settings.keep)
        self._export(LAST_NAME, state.ema or state.weights)
        self.report(Saved(path))

    def _export(self, name: str, weights: Tensors | None = None) -> None:
        """Write the (averaged) weights with everything that a reader should know about them."""
        if weights is None:
            state = self.engine.state()
            weights = state.ema or state.weights
        export_weights(
            self.settings.out / name, self.config, weights, self.recipe,
            model=self.settings.model, step=self.step, seconds=self.seconds, metrics=self.metrics,
            data=[f"{spec.path} (weight {spec.weight:g})" for spec in self.settings.sources],
            initial=self.settings.initial_label, engine=self.engine.name, command=self.settings.command,
        )  # fmt: skip


class _Meter:
    """Means over the steps since the last row."""

    def __init__(self, run: _Run, stream: BatchStream) -> None:
        self._run, self._stream = run, stream
        self.left_out_s = 0.0
        self._reset()

    def leave_out(self, seconds: float) -> None:
        """Do not count time spent on validation and saving."""
        self._began += seconds
        self.left_out_s += seconds

    def _reset(self) -> None:
        self._began, self._waited = time.monotonic(), self._stream.waited_s
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._samples = 0

    def add(self, loss: float, grad_norm: float, batch: Batch) -> StepRow | None:
        """Count a step; → a row, also written to the logs, at every ``log_interval``-th."""
        run = self._run
        self._losses.append(loss)
        self._norms.append(grad_norm)
        self._samples += len(batch.gt) * run.place.world
        if run.step % run.settings.log_interval and run.step != run.recipe.steps:
            return None
        elapsed = max(time.monotonic() - self._began, 1e-9)
        row = StepRow(
            run.step, float(np.mean(self._losses)), run.recipe.lr_at(batch.step), float(np.mean(self._norms)),
            elapsed / len(self._losses), self._samples / elapsed, (self._stream.waited_s - self._waited) / elapsed,
            run.engine.peak_memory_mib(), run.skipped,
        )  # fmt: skip
        for log in run.logs:
            log.write(row)
        self._reset()
        return row
