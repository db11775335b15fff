"""The network as steps, with the recurrent state held by the caller: what inference compiles, each for one clip.

:class:`Prepare`, :class:`Advance` for each pass, :class:`Reconstruct`; together they
compute what :class:`~rvrt_cli.model.rvrt.RVRT` computes of the whole sequence. All shapes are fixed by the picture's size.
"""

from __future__ import annotations

from typing import Any

from rvrt_cli.backend import active as B
from rvrt_cli.model.rvrt import RVRT, clip_flows

Tensor = Any


class Prepare(B.Module):
    """What is computed of a clip alone: shallow features and, where the network uses them, flows.

    ``clip (1, 2, h, w, c_in)`` and, with flows, ``previous (1, 1, h, w, c_in)``, the frame before it (any frame for the
    first clip, whose flows to it nobody uses) → features ``(1, 2, h', w', c)`` and flows ``(1, 4, h', w', 2)``: from the
    previous frame to the clip's first one, from the first to the second, and the ways back in the same order.
    """

    def __init__(self, network: RVRT) -> None:
        super().__init__()
        self.network = network
        self.uses_flow = network.uses_flow

    def forward(self, clip: Tensor, *previous: Tensor) -> tuple[Tensor, ...]:
        features = self.network.features(clip)
        if not self.uses_flow:
            return (features,)
        backward, forward = self.network.flows(B.concat([previous[0], clip], 1)[:, :, :, :, :3])
        return features, B.stack([backward[0], backward[1], forward[0], forward[1]], 1)


class Advance(B.Module):
    """One step of a pass: a clip and the state that the clip processed before it left → the clip's features.

    Inputs in order: ``gate (1, 1, 1, 1, 1)``, 1, or 0 where no clip was processed before (the inputs that describe it may be
    anything finite then); ``state``, that clip's features of this pass; ``key``, those of the stage before; the clip's features of
    all earlier stages, ``(1, 2, h', w', c)`` each; with flows ``link``: the other clip's (as of :class:`Prepare`) for the first
    pass of a direction, for the second one the flows that the first refined; and the clip's own, if :meth:`ModelConfig.needs_own_flows`.
    Results: the features and, where a later pass in this direction wants them, the refined flows ``(1, 4, h', w', 2)``.
    """

    def __init__(self, network: RVRT, index: int) -> None:
        super().__init__()
        self.recurrent = network.passes[index]
        self.stages = 1 + index
        self.backward = index % 2 == 0
        self.uses_flow = network.uses_flow
        self.intra_clip = self.recurrent.intra_clip
        self.takes_refined = index >= 2
        self.gives_refined = network.uses_flow and index + 2 < len(network.passes)

    def forward(self, gate: Tensor, state: Tensor, key: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        state, key = self._order(state), self._order(key)
        stages = [self._order(rest[i]) for i in range(self.stages)]
        inside: list[Tensor] = []
        if self.uses_flow:
            link = rest[self.stages]
            # A backward pass sees time reversed: flows to later frames lead to "earlier" ones.
            there, back = (1, 3) if self.backward else (3, 1)
            if self.intra_clip:
                own = rest[self.stages + 1]
                inside = [own[:, back], own[:, there]]
            if self.takes_refined:
                same, other = link[:, :2], link[:, 2:]
            else:
                own = rest[self.stages + 1]
                between = link[:, 0] if self.backward else own[:, 2]
                same, other = clip_flows(link[:, there], between, own[:, there])
            aligned, same, other = self.recurrent.align(stages[-1], key, state, same, other)
            result = self._order(self.recurrent.update(stages, aligned * gate, inside))
            if self.gives_refined:
                return result, B.concat([same, other], 1)
            return (result,)
        aligned = self.recurrent.align(stages[-1], key, state)
        return (self._order(self.recurrent.update(stages, aligned * gate, inside)),)

    def _order(self, x: Tensor) -> Tensor:
        """A clip's frames in the order in which the pass sees them, and back."""
        return B.flip(x, 1) if self.backward else x


class Reconstruct(B.Module):
    """``rgb (1, 2, h, w, 3)`` and a clip's features of all stages, ``(1, 2, h', w', c)`` each → ``(1, 2, s·h, s·w, 3)``."""

    def __init__(self, network: RVRT) -> None:
        super().__init__()
        self.network = network

    def forward(self, rgb: Tensor, *stages: Tensor) -> tuple[Tensor, ...]:
        return (self.network.reconstruct(B.concat(list(stages), 4), rgb),)
