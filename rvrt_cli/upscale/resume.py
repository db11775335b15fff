"""What a run records about itself in its journal, and from where an interrupted one goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rvrt_cli.package import __version__
from rvrt_cli.upscale.journal import Journal, Restart
from rvrt_cli.upscale.plan import plan_work
from rvrt_cli.upscale.prepare import Prepared


def run_identity(prepared: Prepared, content: dict[str, Any]) -> dict[str, Any]:
    """What the output's bytes depend on; ``content`` identifies the input. Work of another identity is not continued."""
    return {
        "version": __version__,
        "input": content,
        "options": prepared.options.identity(),
        "model": prepared.restorer.fingerprint,
        "encoder": prepared.settings.fingerprint if prepared.settings else "png",
        "segment_frames": prepared.segment_frames,
        # A video's name is no part of its bytes; the pictures' names are what a segment holds.
        "names": prepared.names.pattern if prepared.names else None,
    }


def resolved_choices(prepared: Prepared) -> dict[str, Any]:
    """What "auto" became on this machine; a continued run keeps it."""
    return {
        "window": prepared.window,
        "tile_px": prepared.tile.tile_px,
        "tile_overlap_px": prepared.tile.overlap_px,
        "memory_limit": prepared.options.memory_limit,
    }


def amend_plan(prepared: Prepared, journal: Journal) -> None:
    """Plan the rest of an earlier run anew where ``--memory-limit`` is another one now, and record that."""
    limit = prepared.options.memory_limit
    if limit is None or limit == journal.resolved.get("memory_limit"):
        return
    video = prepared.source.video
    longest = journal.segments[-1].restart.window if journal.segments else None
    work = plan_work(
        prepared.options,
        prepared.restorer,
        video.height,
        video.width,
        encoder_bytes=prepared.encoder_bytes,
        longest_window=longest,
    )
    journal.amend(resolved_choices(replace(prepared, window=work.window, tile=work.tile)))


def restart_of(journal: Journal) -> Restart:
    """From where planning continues: with what made the last frame, or with the plan that was made since."""
    restart = journal.segments[-1].restart
    if not journal.amended:
        return restart
    resolved = journal.resolved
    return replace(
        restart,
        window=resolved["window"],
        tile_px=resolved["tile_px"],
        tile_overlap_px=resolved["tile_overlap_px"],
    )
