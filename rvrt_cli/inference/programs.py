"""The programs that a picture size takes: the steps of a network by name, with the shapes of what goes in and comes out.

Features are handed from step to step in float16, half the memory of float32; arithmetic inside is what the engine was
asked for. Flows stay float32: beyond 64 px float16 resolves no better than 1/16 px.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rvrt_cli.inference.graph import Port
from rvrt_cli.model.config import CLIP_SIZE, ModelConfig

PREPARE, RECONSTRUCT = "prepare", "reconstruct"


def advance(index: int) -> str:
    """Name of the program of pass ``index``."""
    return f"pass{index}"


@dataclass(frozen=True)
class Program:
    """One step for one picture size.

    ``index``: of its pass; -1 for what comes before the passes, that of the last pass for reconstruction, which runs clip by clip
    with it. Programs of another index are not needed meanwhile.
    """

    name: str
    inputs: tuple[Port, ...]
    results: tuple[Port, ...]
    index: int = -1

    def module(self, network: Any) -> Any:
        """The step of ``network``, an :class:`~rvrt_cli.model.rvrt.RVRT` of the backend in use."""
        from rvrt_cli.model.steps import Advance, Prepare, Reconstruct

        if self.name == PREPARE:
            return Prepare(network)
        return Reconstruct(network) if self.name == RECONSTRUCT else Advance(network, self.index)


def step_programs(config: ModelConfig, height: int, width: int) -> dict[str, Program]:
    """The programs for (padded) pictures of ``height`` x ``width`` LQ pixels, by name in the order in which they first run."""
    shrink = config.size_multiple // config.window[1]
    small = (height // shrink, width // shrink)

    def features(name: str) -> Port:
        return Port(name, (1, CLIP_SIZE, *small, config.embed_dim), half=True)

    def flows(name: str) -> tuple[Port, ...]:
        return (Port(name, (1, 4, *small, 2)),) if config.uses_flow else ()

    clip = Port("clip", (1, CLIP_SIZE, height, width, config.in_channels))
    previous = (Port("previous", (1, 1, height, width, config.in_channels)),) if config.uses_flow else ()
    programs = [Program(PREPARE, (clip, *previous), (features("features"), *flows("flows")))]
    for index in range(config.passes):
        state = (Port("gate", (1, 1, 1, 1, 1)), features("state"), features("key"))
        stages = tuple(features(f"stage{i}") for i in range(1 + index))
        refined = flows("refined") if index + 2 < config.passes else ()
        own = flows("flows") if config.needs_own_flows(index) else ()
        programs.append(
            Program(
                advance(index),
                (*state, *stages, *flows("link"), *own),
                (features("result"), *refined),
                index,
            )
        )
    rgb = Port("rgb", (1, CLIP_SIZE, height, width, 3))
    stages = tuple(features(f"stage{i}") for i in range(1 + config.passes))
    sr = Port("sr", (1, CLIP_SIZE, height * config.upscale, width * config.upscale, 3))
    programs.append(Program(RECONSTRUCT, (rgb, *stages), (sr,), config.passes - 1))
    return {program.name: program for program in programs}
