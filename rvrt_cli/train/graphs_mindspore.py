"""The compiled parts of MindSpore's training step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mindspore as ms
from mindspore import Tensor, nn, ops

from rvrt_cli.train.recipe import Recipe


class _Loss(nn.Cell):
    """Mean Charbonnier loss of one part of the batch, times ``scale``."""

    def __init__(self, model: nn.Cell, epsilon: float) -> None:
        super().__init__()
        self.model = model
        self.epsilon = epsilon

    def construct(self, lq: Tensor, gt: Tensor, scale: Tensor) -> Tensor:
        difference = self.model(lq) - gt
        return ops.ReduceMean()(ops.sqrt(difference * difference + self.epsilon)) * scale


class Gradients(nn.Cell):
    """``lq``, ``gt`` in [0, 1] and the loss scale → (scaled loss, gradients of ``parameters``)."""

    def __init__(self, model: nn.Cell, parameters: Sequence[ms.Parameter], epsilon: float) -> None:
        super().__init__()
        self.loss = _Loss(model, epsilon)
        self.parameters_ = ms.ParameterTuple(parameters)
        self.value_and_grad = ms.value_and_grad(self.loss, None, self.parameters_)
        self.set_train(True)

    def construct(self, lq: Tensor, gt: Tensor, scale: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.value_and_grad(lq, gt, scale)


_scaled = ops.MultitypeFuncGraph("scaled")
_plus = ops.MultitypeFuncGraph("plus")
_square = ops.MultitypeFuncGraph("square")
_adam_step = ops.MultitypeFuncGraph("adam_step")
_average_step = ops.MultitypeFuncGraph("average_step")


@_scaled.register("Tensor", "Tensor")
def _scaled_tensor(factor: Tensor, x: Tensor) -> Tensor:
    return x * factor


@_plus.register("Tensor", "Tensor")
def _plus_tensor(x: Tensor, y: Tensor) -> Tensor:
    return x + y


@_square.register("Tensor")
def _square_tensor(x: Tensor) -> Tensor:
    return ops.ReduceSum()(x * x)


class _Add(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.map = ops.HyperMap()

    def construct(self, a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return self.map(_plus, a, b)


class Average(nn.Cell):
    """Gradients → (their mean over ``world`` devices without the loss scale, the mean of ``extra``, their squared norm)."""

    def __init__(self, world: int) -> None:
        super().__init__()
        self.world = world
        self.add = _Add()
        self.map = ops.HyperMap()
        self.all_reduce: Any = ops.AllReduce() if world > 1 else None

    def construct(
        self, grads: tuple[Tensor, ...], extra: Tensor, unscale: Tensor
    ) -> tuple[Any, Tensor, Tensor]:
        if self.world > 1:
            grads = self.map(self.all_reduce, grads)
            extra = self.all_reduce(extra) / self.world
            unscale = unscale / self.world
        grads = self.map(ops.partial(_scaled, unscale), grads)
        return grads, extra, ops.addn(self.map(_square, grads))


class Reduce(nn.Cell):
    """Sum over all devices."""

    def __init__(self) -> None:
        super().__init__()
        self.all_reduce = ops.AllReduce()

    def construct(self, x: Tensor) -> Tensor:
        return self.all_reduce(x)


class Update(nn.Cell):
    """Adam (Kingma & Ba, 2015) on one group of parameters, then the moving average of the weights.

    Called with the gradients and scalars: clipping factor, powers of both betas, learning rate, epsilon, and the share
    of the new weights in the average.
    """

    def __init__(
        self, parameters: Sequence[ms.Parameter], averages: Sequence[ms.Parameter] | None, recipe: Recipe
    ) -> None:
        super().__init__()
        self.weights = ms.ParameterTuple(parameters)
        self.m = self.weights.clone("adam_m", "zeros")
        self.v = self.weights.clone("adam_v", "zeros")
        self.averaged = averages is not None
        self.averages = ms.ParameterTuple(averages if averages is not None else [])
        self.beta1 = Tensor(recipe.beta1, ms.float32)
        self.beta2 = Tensor(recipe.beta2, ms.float32)
        self.adam = ops.Adam()
        self.map = ops.HyperMap()

    def construct(
        self,
        grads: tuple[Tensor, ...],
        factor: Tensor,
        power1: Tensor,
        power2: Tensor,
        lr: Tensor,
        epsilon: Tensor,
        share: Tensor,
    ) -> Any:
        done = self.map(
            ops.partial(_adam_step, self.adam, factor, power1, power2, lr, self.beta1, self.beta2, epsilon),
            self.weights, self.m, self.v, grads,
        )  # fmt: skip
        if self.averaged:
            done = self.map(ops.partial(_average_step, share), self.averages, self.weights, done)
        return done


@_adam_step.register(
    "Function",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
)
def _adam_tensor(
    adam: Any, factor: Tensor, power1: Tensor, power2: Tensor, lr: Tensor, beta1: Tensor, beta2: Tensor,
    epsilon: Tensor, weight: Tensor, m: Tensor, v: Tensor, grad: Tensor,
) -> Tensor:  # fmt: skip
    return ops.depend(lr, adam(weight, m, v, power1, power2, lr, beta1, beta2, epsilon, grad * factor))


@_average_step.register("Tensor", "Tensor", "Tensor", "Tensor")
def _average_tensor(share: Tensor, average: Tensor, weight: Tensor, after: Tensor) -> Tensor:
    weight = ops.depend(weight, after)
    return ops.depend(after, ops.assign(average, average + (weight - average) * share))
