"""PSNR and SSIM against the golden figures and against direct formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rvrt_cli.errors import InputError
from rvrt_cli.evaluate.metrics import psnr, rgb_to_y, ssim


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize("planes", ["rgb", "y"])
@pytest.mark.parametrize("crop", [0, 4])
def test_golden_figures(shared: Path, metric, planes: str, crop: int) -> None:
    with np.load(shared / "golden" / "resize_and_metrics.npz") as file:
        expected = float(file[f"{metric.__name__}_{planes}_crop{crop}"])
        value = metric(file["image_rgb_u8"], file["distorted_rgb_u8"], crop=crop, y_channel=planes == "y")
    assert value == pytest.approx(expected, abs=1e-6)


def test_luma_is_studio_range() -> None:
    rgb = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0]], dtype=np.uint8)
    np.testing.assert_allclose(rgb_to_y(rgb), [16.0, 235.0, 81.481], atol=1e-9)


def test_equal_images() -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    assert psnr(image, image) == float("inf")
    assert ssim(image, image) == pytest.approx(1.0, abs=1e-12)


def test_known_error_and_float_input() -> None:
    image = np.full((16, 16, 3), 100.0)
    assert psnr(image, image + 5.0) == pytest.approx(10 * np.log10(255**2 / 25), abs=1e-12)
    # A grey plane is already what is compared.
    assert psnr(image[..., 0], image[..., 0] + 5.0, y_channel=True) == pytest.approx(
        10 * np.log10(255**2 / 25), abs=1e-12
    )


def test_sizes_are_checked() -> None:
    with pytest.raises(InputError, match="different sizes"):
        psnr(np.zeros((8, 8, 3)), np.zeros((8, 9, 3)))
    with pytest.raises(InputError, match="cannot be cropped"):
        psnr(np.zeros((8, 8, 3)), np.zeros((8, 8, 3)), crop=4)
    with pytest.raises(InputError, match="at least 11 pixels"):
        ssim(np.zeros((8, 30, 3)), np.zeros((8, 30, 3)))
