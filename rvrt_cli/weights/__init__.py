"""Weight files: read them without their framework, match them against presets, find and download them."""

from __future__ import annotations

from rvrt_cli.weights.cache import cache_folder, fetch
from rvrt_cli.weights.files import Weights, load_weights, read_raw, save_weights
from rvrt_cli.weights.find import find_weights, known_weights, light_model, weights_path
from rvrt_cli.weights.raw import RawFile
from rvrt_cli.weights.read_ckpt import read_ckpt
from rvrt_cli.weights.read_pth import read_pth
from rvrt_cli.weights.read_safetensors import read_safetensors
from rvrt_cli.weights.registry import PUBLISHED, PublishedWeights, published

__all__ = [
    "PUBLISHED",
    "PublishedWeights",
    "RawFile",
    "Weights",
    "cache_folder",
    "fetch",
    "find_weights",
    "known_weights",
    "light_model",
    "load_weights",
    "published",
    "read_ckpt",
    "read_pth",
    "read_raw",
    "read_safetensors",
    "save_weights",
    "weights_path",
]
