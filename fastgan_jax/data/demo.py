"""The demo set: procedural images of friendly monsters, so that a first run needs no download.

Each image is a function of (seed, index) by numpy's frozen RandomState: a sky over a ground, and on it a monster
whose body, color, ears, eyes and mouth vary.
"""

import colorsys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import ImageDraw

DEMO_VERSION = 1  # part of the cache's key: raise it when the images change
SUPERSAMPLING = 4
EARS = ("none", "round", "horns", "antennae")
DARK = (40, 35, 50)
WHITE = (255, 255, 255)

Color = tuple[int, int, int]


def draw_demo_set(count: int, seed: int, resolution: int) -> np.ndarray:
    """Draws the images of indices 0 to count - 1: uint8 [count, resolution, resolution, 3]."""
    return np.stack([draw_demo_image(seed, index, resolution) for index in range(count)])


def draw_demo_image(seed: int, index: int, resolution: int) -> np.ndarray:
    """Draws one image, uint8 [resolution, resolution, 3]."""
    from PIL import Image, ImageDraw

    random = np.random.RandomState([seed, index])
    side = resolution * SUPERSAMPLING
    image = Image.new("RGB", (side, side))
    _Monster(ImageDraw.Draw(image), side, random).draw()
    return np.asarray(image.resize((resolution, resolution), Image.Resampling.BOX))


class _Monster:
    """Draws one monster; lengths are shares of the image's side, y grows downward."""

    def __init__(self, canvas: "ImageDraw.ImageDraw", side: int, random: np.random.RandomState):
        self._canvas, self._side = canvas, side
        self._sky_hue, self._ground_hue, self._hue = random.uniform(size=3)
        self._horizon = random.uniform(0.62, 0.8)
        self._x = random.uniform(0.44, 0.56)
        self._y = random.uniform(0.5, 0.58)
        self._width = random.uniform(0.24, 0.36)  # half of the body's
        self._height = random.uniform(0.24, 0.36)
        self._ears = EARS[random.randint(len(EARS))]
        self._eye = random.uniform(0.07, 0.1)
        self._look = random.uniform(-0.35, 0.35, 2)
        self._smile = random.uniform(0.08, 0.16)
        self._teeth = random.uniform() < 0.4

    def draw(self) -> None:
        """Draws everything, from back to front."""
        body = _color(self._hue, 0.75, 0.9)
        self._rectangle(0, 0, 1, self._horizon, _color(self._sky_hue, 0.25, 1.0))
        self._rectangle(0, self._horizon, 1, 1, _color(self._ground_hue, 0.35, 0.7))
        self._draw_ears(body, _color(self._hue + 0.08, 0.6, 0.65))
        self._ellipse(self._x, self._y, self._width, self._height, body)
        belly = _color(self._hue, 0.3, 1.0)
        self._ellipse(self._x, self._y + 0.55 * self._height, 0.6 * self._width, 0.4 * self._height, belly)
        self._draw_eyes()
        self._draw_mouth()

    def _draw_ears(self, body: Color, dark: Color) -> None:
        for sign in (-1, 1):
            x, y = self._x + sign * 0.65 * self._width, self._y - 0.75 * self._height
            if self._ears == "round":
                self._ellipse(x, y - 0.03, 0.1, 0.1, body)
                self._ellipse(x, y - 0.03, 0.055, 0.055, dark)
            elif self._ears == "horns":
                self._polygon([(x - 0.1, y + 0.05), (x + 0.1, y + 0.05), (x + sign * 0.05, y - 0.17)], dark)
            elif self._ears == "antennae":
                tip = (x + sign * 0.02, y - 0.16)
                self._line([(self._x + sign * 0.4 * self._width, y + 0.05), tip], dark, 0.04)
                self._ellipse(*tip, 0.06, 0.06, body)

    def _draw_eyes(self) -> None:
        y = self._y - 0.3 * self._height
        for sign in (-1, 1):
            x = self._x + sign * 1.1 * self._eye
            self._ellipse(x, y, self._eye, self._eye, WHITE)
            dx, dy = self._look * self._eye
            self._ellipse(x + dx, y + dy, 0.5 * self._eye, 0.5 * self._eye, DARK)

    def _draw_mouth(self) -> None:
        y = self._y + 0.15 * self._height
        box = self._box(self._x, y, self._smile, 0.75 * self._smile)
        self._canvas.chord(box, 0, 180, fill=DARK)
        if self._teeth:
            self._rectangle(self._x - 0.035, y, self._x + 0.035, y + 0.04, WHITE)

    def _box(self, x: float, y: float, half_width: float, half_height: float) -> list[float]:
        corners = (x - half_width, y - half_height, x + half_width, y + half_height)
        return [corner * self._side for corner in corners]

    def _ellipse(self, x: float, y: float, half_width: float, half_height: float, color: Color) -> None:
        self._canvas.ellipse(self._box(x, y, half_width, half_height), fill=color)

    def _rectangle(self, left: float, top: float, right: float, bottom: float, color: Color) -> None:
        self._canvas.rectangle([v * self._side for v in (left, top, right, bottom)], fill=color)

    def _polygon(self, points: list[tuple[float, float]], color: Color) -> None:
        self._canvas.polygon([(x * self._side, y * self._side) for x, y in points], fill=color)

    def _line(self, points: list[tuple[float, float]], color: Color, width: float) -> None:
        scaled = [(x * self._side, y * self._side) for x, y in points]
        self._canvas.line(scaled, fill=color, width=round(width * self._side))


def _color(hue: float, saturation: float, value: float) -> Color:
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1, saturation, value))
