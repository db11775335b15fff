"""Which shipped network --estimate recommends."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvrt_cli.media.source import Source
from rvrt_cli.upscale import advice
from rvrt_cli.upscale.advice import COMPRESSED, REAL, compression_advice

SOURCE = object.__new__(Source)
"""Never looked at: what its key frames tell is replaced."""


@pytest.fixture
def economy(monkeypatch: pytest.MonkeyPatch) -> dict[str, float | None]:
    """What the film's key frames tell, to be set by the test."""
    told: dict[str, float | None] = {"value": None}
    monkeypatch.setattr(advice, "bits_per_detail", lambda source: told["value"])
    monkeypatch.setattr(advice, "shipped", lambda: {"light-s": Path(), REAL: Path()})
    return told


def test_a_compressed_film_is_for_the_network_made_for_such(economy: dict[str, float | None]) -> None:
    economy["value"] = COMPRESSED * 0.6
    assert f"--model {REAL}" in compression_advice(SOURCE, "light-s")
    assert f"--model {REAL}" in compression_advice(SOURCE, "light")
    assert compression_advice(SOURCE, REAL) == ""


def test_a_clean_film_is_for_the_other(economy: dict[str, float | None]) -> None:
    economy["value"] = COMPRESSED * 2
    assert compression_advice(SOURCE, "light-s") == ""
    assert "--light" in compression_advice(SOURCE, REAL)


@pytest.mark.parametrize("model", ["bicubic", "mine"])
def test_other_models_are_the_users_own_choice(economy: dict[str, float | None], model: str) -> None:
    economy["value"] = COMPRESSED / 4
    assert compression_advice(SOURCE, model) == ""


def test_nothing_is_said_of_what_cannot_be_told_or_is_not_here(
    economy: dict[str, float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compression_advice(SOURCE, "light-s") == ""
    economy["value"] = COMPRESSED / 4
    monkeypatch.setattr(advice, "shipped", lambda: {"light-s": Path()})
    assert compression_advice(SOURCE, "light-s") == ""
