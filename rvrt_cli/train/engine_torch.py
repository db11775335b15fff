"""The training step in PyTorch: CPU and NVIDIA cards, one or many (Gloo, NCCL)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from rvrt_cli import backend
from rvrt_cli.errors import DeviceError
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
from rvrt_cli.upscale.events import counted


class TorchEngine:
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
        torch, self._device = find_device(device, rank_info)
        backend.select("torch")
        self._torch, self._recipe, self._place = torch, recipe, rank_info
        if threads:
            torch.set_num_threads(threads)
        self._on_cuda = self._device.type == "cuda"
        if self._on_cuda:
            torch.cuda.set_device(self._device)
        if rank_info.world > 1:
            with talking(rank_info):
                torch.distributed.init_process_group("nccl" if self._on_cuda else "gloo")
        device_name = (
            torch.cuda.get_device_name(self._device)
            if self._on_cuda
            else f"CPU, {counted(torch.get_num_threads(), 'thread')}"
        )
        self.name = f"PyTorch {torch.__version__.split('+')[0]} on {device_name}, {recipe.precision}"

        from rvrt_cli.backend import torch as primitives
        from rvrt_cli.model.rvrt import RVRT

        primitives.set_device(str(self._device))
        self._model = RVRT(config).to(self._device)
        self._parameters: dict[str, Any] = dict(self._model.named_parameters())
        shapes = {name: tuple(value.shape) for name, value in self._parameters.items()}
        weights = starting_tensors(shapes, config, initial, recipe.seed)
        self._adam_m = {name: torch.zeros_like(value) for name, value in self._parameters.items()}
        self._adam_v = {name: torch.zeros_like(value) for name, value in self._parameters.items()}
        self._ema: dict[str, Any] = {}
        self.load_state(EngineState(weights, weights if recipe.ema else {}, {}, {}))
        if recipe.recompute:
            _recompute_stages(self._model)
        # A stage has one shape; for shapes that vary, Inductor (2.13) fails on this network's windows.
        self._forward = torch.compile(self._model, dynamic=False) if recipe.compile else self._model

    def step(self, lq: np.ndarray, gt: np.ndarray, lr: float, flow_lr: float, stop: bool) -> StepResult:
        torch, recipe = self._torch, self._recipe
        active = {name: p for name, p in self._parameters.items() if flow_lr > 0 or not is_flow(name)}
        for name, parameter in self._parameters.items():
            parameter.requires_grad_(name in active)
            parameter.grad = None
        scale = self._scale if recipe.precision == "fp16" else 1.0
        loss = 0.0
        for part_lq, part_gt in zip(
            np.split(lq, recipe.accumulate), np.split(gt, recipe.accumulate), strict=True
        ):
            loss += self._backward(part_lq, part_gt, scale) / recipe.accumulate
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in active.values()]
        own_loss = loss
        loss, stop = self._average(grads, loss, stop)
        if scale != 1.0:
            torch._foreach_mul_(grads, 1.0 / scale)
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))))
        finite = bool(np.isfinite(norm) and np.isfinite(loss))
        if recipe.precision == "fp16":
            self._scale, self._scale_age = next_scale(self._scale, self._scale_age, finite)
        if finite:
            if 0 < recipe.clip_grad < norm:
                torch._foreach_mul_(grads, recipe.clip_grad / (norm + CLIP_EPSILON))
            self._update(dict(zip(active, grads, strict=True)), lr, flow_lr)
        else:
            self._skipped += 1
        return StepResult(loss, norm, finite, stop, scale, own_loss)

    def _backward(self, lq: np.ndarray, gt: np.ndarray, scale: float) -> float:
        """Add the gradient of the mean Charbonnier loss of one part; → the loss."""
        torch = self._torch
        with translate_shortage(SMALLER_STEP), self._compiling():
            with self._autocast():
                sr = self._forward(self._to_device(lq))
            difference = sr.float() - self._to_device(gt)
            loss = torch.sqrt(difference * difference + self._recipe.charbonnier_epsilon).mean()
            (loss * (scale / self._recipe.accumulate)).backward()
        return float(loss.detach())

    @contextmanager
    def _compiling(self) -> Iterator[None]:
        """Turn what ``torch.compile`` meets at the first steps into one sentence, for example that there is no C++ compiler."""
        if not self._recipe.compile:
            yield
            return
        from torch._dynamo.exc import TorchDynamoException

        try:
            yield
        except TorchDynamoException as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise DeviceError(f"torch.compile failed ({first}); leave --compile out.") from error

    def _average(self, grads: list[Any], loss: float, stop: bool) -> tuple[float, bool]:
        """Mean gradients and loss over all devices in one message; whether any was asked to stop."""
        torch = self._torch
        if self._place.world == 1:
            return loss, stop
        extra = torch.tensor([loss, float(stop)], device=self._device)
        message = torch.cat([grad.reshape(-1) for grad in grads] + [extra])
        with talking(self._place):
            torch.distributed.all_reduce(message)
        message /= self._place.world
        sizes = [grad.numel() for grad in grads]
        for grad, mean in zip(grads, message[:-2].split(sizes), strict=True):
            grad.copy_(mean.view_as(grad))
        return float(message[-2]), bool(message[-1] > 0)

    def _update(self, grads: dict[str, Any], lr: float, flow_lr: float) -> None:
        """Adam (Kingma & Ba, 2015) and the moving average of the weights."""
        torch, recipe = self._torch, self._recipe
        self._updates += 1
        self._flow_updates += 1 if flow_lr > 0 else 0
        for flow, rate, count in ((False, lr, self._updates), (True, flow_lr, self._flow_updates)):
            names = [name for name in grads if is_flow(name) == flow]
            if not names:
                continue
            g = [grads[name] for name in names]
            m, v = [self._adam_m[name] for name in names], [self._adam_v[name] for name in names]
            torch._foreach_lerp_(m, g, 1.0 - recipe.beta1)
            torch._foreach_mul_(v, recipe.beta2)
            torch._foreach_addcmul_(v, g, g, 1.0 - recipe.beta2)
            root = torch._foreach_sqrt(v)
            torch._foreach_div_(root, (1.0 - recipe.beta2**count) ** 0.5)
            torch._foreach_add_(root, recipe.epsilon)
            with torch.no_grad():
                weights = [self._parameters[name] for name in names]
                torch._foreach_addcdiv_(weights, m, root, -rate / (1.0 - recipe.beta1**count))
        if recipe.ema:
            with torch.no_grad():
                share = 1.0 - ema_decay(recipe.ema, self._updates)
                torch._foreach_lerp_(list(self._ema.values()), list(self._parameters.values()), share)

    def predict(self, lq: np.ndarray) -> np.ndarray:
        torch = self._torch
        # Not inference mode: the model's cached constants would be born without a gradient's bookkeeping.
        with translate_shortage(SMALLER_CLIP), torch.no_grad(), self._autocast():
            x = torch.from_numpy(np.ascontiguousarray(lq))[None].to(self._device)
            weights = self._ema or self._parameters
            return torch.func.functional_call(self._model, weights, (x,))[0].float().cpu().numpy()

    def state(self) -> EngineState:
        def copies(values: dict[str, Any]) -> Tensors:
            return {name: value.detach().float().cpu().numpy().copy() for name, value in values.items()}

        return EngineState(
            copies(self._parameters), copies(self._ema), copies(self._adam_m), copies(self._adam_v),
            self._updates, self._flow_updates, self._scale, self._scale_age, self._skipped,
        )  # fmt: skip

    def load_state(self, state: EngineState) -> None:
        torch = self._torch
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(torch.tensor(state.weights[name]))
                for mine, theirs in ((self._adam_m, state.adam_m), (self._adam_v, state.adam_v)):
                    mine[name].copy_(torch.tensor(theirs[name])) if theirs else mine[name].zero_()
                if self._recipe.ema:
                    # A run that had no average before starts it from its weights.
                    self._ema[name] = torch.tensor((state.ema or state.weights)[name], device=self._device)
        self._updates, self._flow_updates = state.updates, state.flow_updates
        self._scale, self._scale_age, self._skipped = state.scale, state.scale_age, state.skipped

    def reduce(self, values: np.ndarray) -> np.ndarray:
        if self._place.world == 1:
            return values
        kind = self._torch.float32 if self._device.type == "mps" else self._torch.float64
        message = self._torch.tensor(values, dtype=kind, device=self._device)
        with talking(self._place):
            self._torch.distributed.all_reduce(message)
        return message.cpu().numpy().astype(np.float64)

    def peak_memory_mib(self) -> float:
        if self._on_cuda:
            return self._torch.cuda.max_memory_allocated(self._device) / 2**20
        return peak_rss_mib()

    def close(self) -> None:
        if self._place.world > 1 and self._torch.distributed.is_initialized():
            self._torch.distributed.destroy_process_group()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._recipe.precision == "fp32":
            return nullcontext()
        kind = self._torch.bfloat16 if self._recipe.precision == "bf16" else self._torch.float16
        return self._torch.autocast(self._device.type, kind)

    def _to_device(self, pictures: np.ndarray) -> Any:
        """uint8 → float32 in [0, 1] on the device."""
        return self._torch.from_numpy(pictures).to(self._device, non_blocking=True).float().div_(255.0)


def find_device(device: str, rank_info: RankInfo) -> tuple[Any, Any]:
    """PyTorch itself and its device for a rank.

    Errors: :class:`DeviceError` where PyTorch or the device is absent.
    """
    try:
        import torch
    except ImportError as error:
        raise DeviceError(
            "PyTorch is not installed; run `pip install torch` (its CPU build where there is no card), or train with --backend mindspore on Python 3.10 to 3.12."
        ) from error
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return torch, torch.device("cpu")
    if device != "cuda":
        raise DeviceError(f"PyTorch training runs on cpu or cuda, not on {device!r}.")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if rank_info.local_rank >= count:
        raise DeviceError(
            f"This machine has {count} NVIDIA device(s) that PyTorch can use, but number {rank_info.local_rank + 1} was asked for; "
            "give a smaller --devices or --device cpu."
        )
    return torch, torch.device("cuda", rank_info.local_rank)


def _recompute_stages(model: Any) -> None:
    """Let every stage of the network drop its activations and compute them again in the backward pass."""
    from torch.utils.checkpoint import checkpoint

    from rvrt_cli.model.layers import Stage

    for module in model.modules():
        if isinstance(module, Stage):
            setattr(module, "forward", partial(checkpoint, module.forward, use_reentrant=False))  # noqa: B010 - mypy forbids assigning methods
