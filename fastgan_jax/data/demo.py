"""The demo set: procedural images of friendly monsters, so that a first run needs no download.

Each image is a function of (seed, index) by numpy's frozen RandomState: a sky over a ground, and on it a monster. What
tells monsters apart at a glance comes in a few kinds: the body (an egg, a ball or wide), its color, and what is on its
head; so a small model learns within minutes to draw them all. Position, horizon, eyes and mouth vary continuously.
"""

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np

DEMO_VERSION = 2  # part of the cache's key: raise it when the images change
SUPERSAMPLING = 4
BODIES = ((0.21, 0.34), (0.29, 0.29), (0.37, 0.25))  # half of width and height
HUES = (0.0, 0.09, 0.16, 0.36, 0.56, 0.76)  # of the body
SKY_HUES, GROUND_HUES = (0.58, 0.13, 0.85), (0.3, 0.08, 0.65)
EARS = ("none", "round", "horns", "antennae")
EYE = 0.085  # its radius
DARK = (40, 35, 50)
WHITE = (255, 255, 255)

Color = tuple[int, int, int]


def draw_demo_image(seed: int, index: int, resolution: int) -> np.ndarray:
    """Draws one image, uint8 [resolution, resolution, 3]."""
    from PIL import Image

    canvas = _Canvas(resolution * SUPERSAMPLING)
    _draw_monster(canvas, np.random.RandomState([seed, index]))
    return np.asarray(canvas.image.resize((resolution, resolution), Image.Resampling.BOX))


class _Canvas:
    """An image to draw on; lengths are shares of its side, y grows downward."""

    def __init__(self, side: int):
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (side, side))
        self._draw, self._side = ImageDraw.Draw(self.image), side

    def _scaled(self, *lengths: float) -> list[float]:
        return [length * self._side for length in lengths]

    def ellipse(self, x: float, y: float, half_width: float, half_height: float, color: Color) -> None:
        box = self._scaled(x - half_width, y - half_height, x + half_width, y + half_height)
        self._draw.ellipse(box, fill=color)

    def half_disk(self, x: float, y: float, half_width: float, half_height: float, color: Color) -> None:
        box = self._scaled(x - half_width, y - half_height, x + half_width, y + half_height)
        self._draw.chord(box, 0, 180, fill=color)

    def rectangle(self, left: float, top: float, right: float, bottom: float, color: Color) -> None:
        self._draw.rectangle(self._scaled(left, top, right, bottom), fill=color)

    def polygon(self, *corners: float, color: Color) -> None:
        self._draw.polygon(self._scaled(*corners), fill=color)

    def line(self, *ends: float, color: Color, width: float) -> None:
        self._draw.line(self._scaled(*ends), fill=color, width=round(width * self._side))


def _draw_monster(canvas: _Canvas, random: np.random.RandomState) -> None:
    """Draws everything, from back to front."""

    def one_of(kinds: Sequence[Any]) -> Any:
        return kinds[random.randint(len(kinds))]

    sky_hue, ground_hue, hue, ears = (one_of(kinds) for kinds in (SKY_HUES, GROUND_HUES, HUES, EARS))
    width, height = np.multiply(one_of(BODIES), random.uniform(0.95, 1.05))
    horizon = random.uniform(0.68, 0.76)
    x, y = random.uniform(0.48, 0.52), random.uniform(0.56, 0.58)
    look = random.uniform(-0.35, 0.35, 2) * EYE
    smile = random.uniform(0.08, 0.16)
    has_teeth = random.uniform() < 0.4

    body = _color(hue, 0.75, 0.95)
    canvas.rectangle(0, 0, 1, horizon, _color(sky_hue, 0.22, 1.0))
    canvas.rectangle(0, horizon, 1, 1, _color(ground_hue, 0.35, 0.7))
    for sign in (-1, 1):
        _draw_ear(canvas, ears, sign, (x, y, width, height), body, _color(hue + 0.08, 0.7, 0.5))
    canvas.ellipse(x, y, width, height, body)
    canvas.ellipse(x, y + 0.55 * height, 0.6 * width, 0.4 * height, _color(hue, 0.3, 1.0))  # the belly
    eye_y, mouth_y = y - 0.3 * height, y + 0.15 * height
    for eye_x in (x - 1.1 * EYE, x + 1.1 * EYE):
        canvas.ellipse(eye_x, eye_y, EYE, EYE, WHITE)
        canvas.ellipse(eye_x + look[0], eye_y + look[1], 0.5 * EYE, 0.5 * EYE, DARK)
    canvas.half_disk(x, mouth_y, smile, 0.75 * smile, DARK)
    if has_teeth:
        canvas.rectangle(x - 0.035, mouth_y, x + 0.035, mouth_y + 0.04, WHITE)


def _draw_ear(canvas: _Canvas, kind: str, sign: int, place: tuple[float, ...], body: Color, color: Color) -> None:
    """Draws what is on the left (`sign` -1) or right of the head of a body at (x, y) of this half width and height."""
    x, y, width, height = place
    ear_x, ear_y = x + sign * 0.65 * width, y - 0.75 * height
    if kind == "round":
        for size, own in ((0.13, body), (0.075, color)):
            canvas.ellipse(ear_x + sign * 0.03, ear_y - 0.05, size, size, own)
    elif kind == "horns":
        tip = (ear_x + sign * 0.08, ear_y - 0.22)
        canvas.polygon(ear_x - 0.11, ear_y + 0.07, ear_x + 0.11, ear_y + 0.07, *tip, color=color)
    elif kind == "antennae":
        tip = (x + sign * (0.4 * width + 0.08), y - height - 0.12)
        canvas.line(x + sign * 0.3 * width, y - 0.8 * height, *tip, color=color, width=0.05)
        canvas.ellipse(*tip, 0.075, 0.075, color)


def _color(hue: float, saturation: float, value: float) -> Color:
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1, saturation, value))
