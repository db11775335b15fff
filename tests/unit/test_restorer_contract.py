"""Restorers that wrap others: the noise channel, the order of a chain, what the journal sees."""

from __future__ import annotations

import numpy as np

from rvrt_cli.inference.restorer import (
    BicubicRestorer,
    DenoisingRestorer,
    IdentityRestorer,
    SequentialRestorer,
)

LQ = np.random.default_rng(0).random((2, 6, 8, 3), np.float32)


class Noisy(IdentityRestorer):
    """Keeps what it was given and returns values outside [0, 1]."""

    channels = 4
    name = "noisy"

    def __call__(self, lq):
        self.seen = lq
        return lq[..., :3] * 3 - 1

    def close(self):
        self.closed = True


def test_the_noise_level_is_the_fourth_channel():
    inner = Noisy()
    DenoisingRestorer(inner, 51)(LQ)
    np.testing.assert_array_equal(inner.seen[..., :3], LQ)
    np.testing.assert_allclose(inner.seen[..., 3], 0.2)


def test_a_chain_runs_in_order_and_clips_between():
    inner = Noisy()
    chain = SequentialRestorer([DenoisingRestorer(inner, 10), BicubicRestorer()])
    assert (chain.scale, chain.channels) == (4, 3)
    np.testing.assert_array_equal(chain(LQ), BicubicRestorer()(np.clip(LQ * 3 - 1, 0, 1)))
    assert chain.name == "noisy (sigma 10) + bicubic"
    chain.close()
    assert inner.closed


def test_fingerprints_differ_wherever_pixels_do():
    prints = {
        BicubicRestorer.fingerprint,
        IdentityRestorer.fingerprint,
        DenoisingRestorer(Noisy(), 10).fingerprint,
        DenoisingRestorer(Noisy(), 20).fingerprint,
        SequentialRestorer([IdentityRestorer(), BicubicRestorer()]).fingerprint,
        SequentialRestorer([BicubicRestorer(), IdentityRestorer()]).fingerprint,
    }
    assert len(prints) == 6
