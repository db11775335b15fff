"""The training step in MindSpore graph mode: CPU; written for Ascend and GPU too (HCCL, NCCL), untested there.

Three graphs make a step: gradients of one part of the batch, their mean over all devices with its norm, and the
update. Between them the host decides whether the gradient is finite and how much of it is kept.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from rvrt_cli import backend
from rvrt_cli.errors import DeviceError, UsageError
from rvrt_cli.model.config import ModelConfig
from rvrt_cli.system.memory import peak_rss_mib
from rvrt_cli.train.checkpoint import EngineState, Tensors
from rvrt_cli.train.engine import (
    CLIP_EPSILON,
    RankInfo,
    StepResult,
    ema_decay,
    is_flow,
    next_scale,
    starting_tensors,
    talking,
)
from rvrt_cli.train.memory import SMALLER_CLIP, SMALLER_STEP, translate_shortage
from rvrt_cli.train.recipe import Recipe


class MindSporeEngine:
    """See :class:`rvrt_cli.train.engine.Engine`."""

    _updates: int
    _flow_updates: int
    _scale: float
    _scale_age: int
    _skipped: int

    def __init__(
        self,
        config: ModelConfig,
        recipe: Recipe,
        initial: Tensors | None,
        device: str,
        threads: int,
        rank_info: RankInfo,
    ) -> None:
        if recipe.precision == "bf16":
            raise UsageError("MindSpore trains in fp32 or fp16 here; choose one of them or --backend torch.")
        if recipe.compile:
            raise UsageError("--compile belongs to --backend torch; MindSpore always compiles.")
        if threads:  # read by MindSpore's kernels when it is imported
            os.environ["OMP_NUM_THREADS"] = str(threads)
        ms, kind = find_device(device, rank_info)
        from rvrt_cli.backend import mindspore as primitives

        if threads:
            ms.device_context.cpu.op_tuning.threads_num(threads)
        primitives.set_mode(True)
        primitives.set_precision(recipe.precision == "fp16")
        if rank_info.world > 1:
            with talking(rank_info):
                ms.communication.init()
        self.name = f"MindSpore {ms.__version__} on {kind}, graph mode, {recipe.precision}"

        from rvrt_cli.model.rvrt import RVRT
        from rvrt_cli.train.graphs_mindspore import Average, Gradients, Reduce, Update

        self._ms, self._recipe, self._place, self._primitives = ms, recipe, rank_info, primitives
        self._kind = kind
        self._model = RVRT(config)
        self._parameters: dict[str, Any] = dict(self._model.parameters_and_names())
        shapes = {name: tuple(value.shape) for name, value in self._parameters.items()}
        weights = starting_tensors(shapes, config, initial, recipe.seed)
        if recipe.recompute:
            _recompute_stages(self._model)
        self._averaged = RVRT(config) if recipe.ema else None
        names = list(self._parameters)
        self._groups = [
            group
            for group in ([n for n in names if not is_flow(n)], [n for n in names if is_flow(n)])
            if group
        ]
        averages = dict(self._averaged.parameters_and_names()) if self._averaged is not None else {}
        self._averages: dict[str, Any] = averages
        self._gradients: dict[bool, Any] = {}
        self._make_gradients = lambda flow: Gradients(
            self._model,
            [p for n, p in self._parameters.items() if flow or not is_flow(n)],
            recipe.charbonnier_epsilon,
        )
        self._average = Average(rank_info.world)
        self._reduce = Reduce() if rank_info.world > 1 else None
        self._updates_of = [
            Update(
                [self._parameters[n] for n in group],
                [averages[n] for n in group] if averages else None,
                recipe,
            )
            for group in self._groups
        ]
        self.load_state(EngineState(weights, weights if recipe.ema else {}, {}, {}))

    def step(self, lq: np.ndarray, gt: np.ndarray, lr: float, flow_lr: float, stop: bool) -> StepResult:
        recipe = self._recipe
        flow = flow_lr > 0 and len(self._groups) > 1
        if flow not in self._gradients:  # compiled when first needed
            self._gradients[flow] = self._make_gradients(flow)
        scale = self._scale if recipe.precision == "fp16" else 1.0
        own_loss, grads = 0.0, None
        with translate_shortage(SMALLER_STEP):
            for part_lq, part_gt in zip(
                np.split(lq, recipe.accumulate), np.split(gt, recipe.accumulate), strict=True
            ):
                loss, part = self._gradients[flow](
                    _pictures(self._ms, part_lq),
                    _pictures(self._ms, part_gt),
                    self._scalar(scale / recipe.accumulate),
                )
                grads = self._variable(
                    part if grads is None else self._average.add(grads, self._variable(part))
                )
                own_loss += float(loss.asnumpy()) / scale
            with talking(self._place):
                grads, extra, norm_squared = self._average(
                    grads, self._scalars(own_loss, float(stop)), self._scalar(1.0 / scale)
                )
                mean_loss, stopped = (float(value) for value in extra.asnumpy())
        norm = float(np.sqrt(float(norm_squared.asnumpy())))
        finite = bool(np.isfinite(norm) and np.isfinite(mean_loss))
        if recipe.precision == "fp16":
            self._scale, self._scale_age = next_scale(self._scale, self._scale_age, finite)
        if finite:
            self._update(grads, norm, lr, flow_lr if flow else 0.0)
        else:
            self._skipped += 1
        return StepResult(mean_loss, norm, finite, stopped > 0, scale, own_loss)

    def _update(self, grads: Any, norm: float, lr: float, flow_lr: float) -> None:
        recipe = self._recipe
        factor = recipe.clip_grad / (norm + CLIP_EPSILON) if 0 < recipe.clip_grad < norm else 1.0
        self._updates += 1
        self._flow_updates += 1 if flow_lr > 0 else 0
        order = [name for name in self._parameters if flow_lr > 0 or not is_flow(name)]
        by_name = dict(zip(order, grads, strict=True))
        for group, update in zip(self._groups, self._updates_of, strict=True):
            of_flow = is_flow(group[0])
            if of_flow and flow_lr == 0.0:
                continue  # frozen: its average equals it
            rate, count = (flow_lr, self._flow_updates) if of_flow else (lr, self._updates)
            power1, power2 = recipe.beta1**count, recipe.beta2**count
            # The kernel adds epsilon before the bias correction; scaled like this the result equals the other engine's.
            epsilon = recipe.epsilon * (1.0 - power2) ** 0.5
            share = 1.0 - ema_decay(recipe.ema, self._updates)
            scalars = [self._scalar(value) for value in (factor, power1, power2, rate, epsilon, share)]
            update(self._variable(tuple(by_name[name] for name in group)), *scalars)

    def predict(self, lq: np.ndarray) -> np.ndarray:
        model = self._averaged if self._averaged is not None else self._model
        with translate_shortage(SMALLER_CLIP):
            return self._primitives.run(model, np.ascontiguousarray(lq[None], np.float32))[0]

    def state(self) -> EngineState:
        def copies(values: dict[str, Any]) -> Tensors:
            return {name: value.asnumpy().astype(np.float32, copy=True) for name, value in values.items()}

        moments: list[dict[str, Any]] = [{}, {}]
        for group, update in zip(self._groups, self._updates_of, strict=True):
            moments[0].update(zip(group, update.m, strict=True))
            moments[1].update(zip(group, update.v, strict=True))
        return EngineState(
            copies(self._parameters), copies(self._averages), copies(moments[0]), copies(moments[1]),
            self._updates, self._flow_updates, self._scale, self._scale_age, self._skipped,
        )  # fmt: skip

    def load_state(self, state: EngineState) -> None:
        tensor = self._ms.Tensor
        self._primitives.load_tensors(self._model, state.weights)
        if self._averaged is not None:
            # A run that had no average before starts it from its weights.
            self._primitives.load_tensors(self._averaged, state.ema or state.weights)
        for group, update in zip(self._groups, self._updates_of, strict=True):
            for mine, theirs in ((update.m, state.adam_m), (update.v, state.adam_v)):
                for name, moment in zip(group, mine, strict=True):
                    value = theirs[name] if theirs else np.zeros(moment.shape, np.float32)
                    moment.set_data(tensor(np.ascontiguousarray(value)))
        self._updates, self._flow_updates = state.updates, state.flow_updates
        self._scale, self._scale_age, self._skipped = state.scale, state.scale_age, state.skipped

    def reduce(self, values: np.ndarray) -> np.ndarray:
        if self._reduce is None:
            return values
        with talking(self._place):
            return self._reduce(self._scalars(*values)).asnumpy().astype(np.float64)

    def peak_memory_mib(self) -> float:
        if self._kind == "cpu":
            return peak_rss_mib()
        return self._ms.runtime.max_memory_allocated() / 2**20

    def close(self) -> None:
        """Nothing: MindSpore leaves the group when the process ends."""

    def _variable(self, tensors: tuple[Any, ...]) -> Any:
        """Mark a tuple of tensors as an input that changes: otherwise a graph is compiled for its values."""
        return self._ms.mutable(tensors)

    def _scalar(self, value: float) -> Any:
        return self._ms.Tensor(value, self._ms.float32)

    def _scalars(self, *values: float) -> Any:
        return self._ms.Tensor(np.array(values, np.float32))


def _pictures(ms: Any, pictures: np.ndarray) -> Any:
    """uint8 → float32 in [0, 1]."""
    return ms.Tensor(pictures.astype(np.float32) / np.float32(255.0))


def find_device(device: str, rank_info: RankInfo) -> tuple[Any, str]:
    """MindSpore itself, set to the device of a rank, and the kind of that: "cpu", "gpu" or "ascend".

    Errors: :class:`DeviceError` where MindSpore or the device is absent.
    """
    names = {"cpu": "CPU", "gpu": "GPU", "cuda": "GPU", "ascend": "Ascend"}
    if device not in ("auto", *names):
        raise DeviceError(f"MindSpore training runs on cpu, gpu or ascend, not on {device!r}.")
    os.environ.setdefault("GLOG_v", "3")  # errors only: graph mode warns about its own rewriting
    try:
        import mindspore as ms
    except ImportError as error:
        raise DeviceError(
            "MindSpore is not installed; train with --backend torch or use Python 3.10 to 3.12."
        ) from error
    backend.select("mindspore")
    from rvrt_cli.backend import mindspore as primitives

    if device == "auto":
        # Asking MindSpore for a device that has no driver prints pages of warnings.
        drivers = {"ascend": "/dev/davinci_manager", "gpu": "/dev/nvidiactl"}
        found = [
            kind
            for kind, driver in drivers.items()
            if os.path.exists(driver) and ms.hal.is_available(names[kind])
        ]
        device = found[0] if found else "cpu"
    kind = "gpu" if device == "cuda" else device
    primitives.set_device(kind if kind == "cpu" else f"{kind}:{rank_info.local_rank}")
    return ms, kind


def _recompute_stages(model: Any) -> None:
    """Let every stage of the network drop its activations and compute them again in the backward pass."""
    from rvrt_cli.model.layers import Stage

    for _, cell in model.cells_and_names():
        if isinstance(cell, Stage):
            cell.recompute()


def run_scheduler() -> None:
    """The body of msrun's scheduler process: it connects the workers and returns when they are done."""
    import mindspore as ms

    ms.set_device("CPU")
    ms.communication.init()
