"""Runs a recurrent network step by step over any number of frames, with the state held here.

A backward pass needs the future: it runs over windows of ``window`` frames that begin ``lookahead`` frames beyond them,
which are thrown away. A forward pass goes on from one window to the next, so its state is carried through the whole run. A
network with four passes has two such pairs one after the other; the second one's first window is shorter by the look-ahead
it waits for, so that both pairs hold about as many frames at any time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from rvrt_cli.inference.programs import PREPARE, RECONSTRUCT, advance
from rvrt_cli.model.config import CLIP_SIZE, ModelConfig

FIRST_CLIPS = 4
"""Length of a run's first window, so that a picture comes soon: one more look-ahead a run, 1 % of one of 120 frames."""

Value = Any
"""Numbers of an engine, in its own memory, or a NumPy array."""


class StepEngine(Protocol):
    """The compiled programs of :func:`~rvrt_cli.inference.programs.step_programs` for one picture size."""

    def run(self, program: str, inputs: Sequence[Value]) -> list[Value]:
        """One step; inputs and results in the order of the program's ports."""
        ...

    def numbers(self, value: Value) -> np.ndarray:
        """A result as a float32 array; it may be lent until the next step."""
        ...


@dataclass
class Clip:
    """Two frames on their way: ``lq (1, 2, h, w, c)``, the frame before them, the features of each stage so far, flows.

    Features and flows are computed when a window needs them for the first time: until then frames are a tenth of the size.
    """

    lq: np.ndarray
    previous: np.ndarray
    wanted: tuple[bool, ...]
    stages: list[Value] = field(default_factory=list)
    flows: Value | None = None
    refined: dict[bool, Value] = field(default_factory=dict)
    """By direction (True: backward), the flows that the first pass refined."""


@dataclass(frozen=True)
class Before:
    """What a pass keeps of the clip that it has just processed: the result, the features of the stage before, the flows."""

    state: Value
    key: Value
    flows: Value | None


class PassPair:
    """A backward pass and the forward pass after it (absent in a network with an odd number of passes).

    ``index``: of the backward pass. ``first``, ``size`` and ``ahead``: clips of the first window, of the others and of the
    look-ahead. ``frugal``: after a window the features of the look-ahead are dropped and computed again for the next.
    """

    def __init__(
        self,
        engine: StepEngine,
        config: ModelConfig,
        index: int,
        first: int,
        size: int,
        ahead: int,
        frugal: bool,
    ) -> None:
        self._engine = engine
        self._config = config
        self._backward = index
        self._forward = index + 1 if index + 1 < config.passes else None
        self._last = index + 2 >= config.passes
        self._size, self._ahead = size, ahead
        self._frugal = frugal and index == 0
        self._due = first
        self._waiting: deque[Clip] = deque()
        self._before: Before | None = None

    def push(self, clip: Clip) -> Iterator[Clip]:
        """Take one clip; give those that this pair has finished."""
        self._waiting.append(clip)
        if len(self._waiting) == self._due + self._ahead:
            count, self._due = self._due, self._size
            yield from self._window(count)

    def finish(self) -> Iterator[Clip]:
        """The rest, as one window. What nobody wants is not computed: here, clips behind the last wanted one."""
        count = len(self._waiting)
        if self._last:
            count = max((i + 1 for i, clip in enumerate(self._waiting) if any(clip.wanted)), default=0)
        if count:
            yield from self._window(count)
        self._waiting.clear()

    def _window(self, count: int) -> Iterator[Clip]:
        """Run both passes; the first ``count`` of the waiting clips are finished."""
        clips = list(self._waiting)
        for clip in clips:
            if not clip.stages:
                self._prepare(clip)
        state: Value = None
        for i in range(len(clips) - 1, -1, -1):
            later = None
            if i + 1 < len(clips):
                later = Before(state, clips[i + 1].stages[self._backward], clips[i + 1].flows)
            state = self._step(self._backward, clips[i], later)
            if i < count:
                clips[i].stages.append(state)
        del clips, state
        for _ in range(count):
            clip = self._waiting.popleft()
            if self._forward is not None:
                state = self._step(self._forward, clip, self._before)
                self._before = Before(state, clip.stages[-1], clip.flows)
                clip.stages.append(state)
            yield clip
        if self._frugal:
            for clip in self._waiting:
                clip.stages, clip.flows = [], None

    def _prepare(self, clip: Clip) -> None:
        inputs = [clip.lq, clip.previous] if self._config.uses_flow else [clip.lq]
        features, *flows = self._engine.run(PREPARE, inputs)
        clip.stages.append(features)
        clip.flows = flows[0] if flows else None

    def _step(self, index: int, clip: Clip, before: Before | None) -> Value:
        """Pass ``index`` of ``clip`` after the clip ``before``."""
        backward = index % 2 == 0
        link = before.flows if before is not None else None
        if index >= 2 and self._config.uses_flow:
            link = clip.refined.get(backward)
            if link is None:  # the first pass in this direction had nothing before this clip
                before = None
        gate = np.full((1, 1, 1, 1, 1), before is not None, np.float32)
        own = clip.stages[index]
        inputs = [gate, own, own] if before is None else [gate, before.state, before.key]
        inputs += clip.stages[: index + 1]
        if self._config.uses_flow:
            inputs.append(clip.flows if before is None else link)
        if self._config.needs_own_flows(index):
            inputs.append(clip.flows)
        results = self._engine.run(advance(index), inputs)
        clip.refined.pop(backward, None)
        if len(results) > 1 and before is not None:
            clip.refined[backward] = results[1]
        return results[0]


class Stepper:
    """A network over one run of frames: frames in, pictures out as soon as they are final.

    ``window`` and ``lookahead`` in frames, at least 2 and 0; see the module. ``frugal``: hold little between windows.
    """

    def __init__(
        self, engine: StepEngine, config: ModelConfig, window: int, lookahead: int, frugal: bool = False
    ) -> None:
        self._engine, self._config, self._frugal = engine, config, frugal
        self._size, self._ahead = max(1, window // CLIP_SIZE), -(-lookahead // CLIP_SIZE)
        self.reset()

    def reset(self) -> None:
        """Forget everything that was pushed."""
        self._frames: list[np.ndarray] = []
        self._wanted: list[bool] = []
        self._previous: np.ndarray | None = None
        self._pairs = []
        for index in range(0, self._config.passes, 2):
            first = min(self._size, FIRST_CLIPS) if self._ahead else self._size
            first -= index // 2 * self._ahead
            self._pairs.append(
                PassPair(
                    self._engine,
                    self._config,
                    index,
                    first if first > 0 else self._size,
                    self._size,
                    self._ahead,
                    self._frugal,
                )
            )

    def push(self, frame: np.ndarray, wanted: bool) -> Iterator[np.ndarray]:
        """Take a frame ``(h, w, c)`` float32 of the engine's size; give finished pictures ``(s·h, s·w, 3)`` float32, lent."""
        self._frames.append(frame)
        self._wanted.append(wanted)
        if len(self._frames) == CLIP_SIZE:
            yield from self._through(self._clip(), 0)

    def finish(self) -> Iterator[np.ndarray]:
        """The remaining pictures. An odd last frame is repeated."""
        if self._frames:
            yield from self.push(self._frames[-1], False)
        for index, pair in enumerate(self._pairs):
            for clip in pair.finish():
                yield from self._through(clip, index + 1)
        self.reset()

    def _clip(self) -> Clip:
        lq = np.stack(self._frames)[None]
        previous = lq[:, :1] if self._previous is None else self._previous
        clip = Clip(lq, previous, tuple(self._wanted))
        self._frames, self._wanted, self._previous = [], [], lq[:, -1:]
        return clip

    def _through(self, clip: Clip, index: int) -> Iterator[np.ndarray]:
        """What comes out at the end when ``clip`` goes into pair ``index``."""
        if index < len(self._pairs):
            for finished in self._pairs[index].push(clip):
                yield from self._through(finished, index + 1)
        elif any(clip.wanted):
            sr = self._engine.run(RECONSTRUCT, [np.ascontiguousarray(clip.lq[..., :3]), *clip.stages])[0]
            pictures = self._engine.numbers(sr)[0]
            for wanted, picture in zip(clip.wanted, pictures, strict=True):
                if wanted:
                    yield picture
