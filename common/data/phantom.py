"""Shapes and textures from which the datasets' phantoms are drawn: synthetic data for the demo and the tests."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np

from common.utils.errors import UserError, run_script

Pair = tuple[float, float]  # of x and y, in px


def smooth_noise(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a random field of mean 0 and standard deviation 1 whose features are about ``scale`` px wide.

    White noise smoothed by a Gaussian of standard deviation ``scale``: ``shape`` (rows, columns) float32.
    """
    # A wide Gaussian is slow, so the noise is drawn on a coarser grid where that can't be seen.
    step = max(int(scale / 4), 1)
    coarse = rng.standard_normal((-(-shape[0] // step) + 2, -(-shape[1] // step) + 2)).astype(np.float32)
    field = cv2.GaussianBlur(coarse, (0, 0), max(scale / step, 0.3))
    field = cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def blob(
    shape: tuple[int, int], centre: Pair, radii: Pair, angle: float, roughness: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw an ellipse with a wavy outline, as lesions have: ``shape`` (rows, columns) uint8 0/1.

    ``centre`` (x, y) and ``radii`` are in px, ``angle``, of the first half axis, in degrees. The waves' amplitude is
    ``roughness`` times the radius; 0 gives the ellipse itself.
    """
    around = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    waves = np.zeros_like(around)
    for frequency in range(2, 7):
        waves += rng.normal(0, 1 / frequency) * np.cos(frequency * around + rng.uniform(0, 2 * np.pi))
    radius = np.clip(1 + roughness * waves, 0.3, 2)
    along, across = radii[0] * radius * np.cos(around), radii[1] * radius * np.sin(around)
    turn = np.deg2rad(angle)
    x = centre[0] + along * np.cos(turn) - across * np.sin(turn)
    y = centre[1] + along * np.sin(turn) + across * np.cos(turn)
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(np.stack([x, y], 1)).astype(np.int32)], 1)
    return mask


def soften(mask: np.ndarray, width: float) -> np.ndarray:
    """Blur the border of a mask over about ``width`` px; float32 weights 0..1."""
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(width, 0.3))


def phantom_script(write: Callable[[Path], None]) -> NoReturn:
    """Run a phantom script: ``write`` its synthetic data to the folder that the command line names."""

    def main() -> None:
        if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
            raise UserError("give one folder to write the synthetic data to")
        write(Path(sys.argv[1]))
        print(f"synthetic data written to {sys.argv[1]}")

    run_script(main)
