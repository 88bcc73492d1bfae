"""The demo set: procedural images of friendly monsters, so that a first run needs no download.

Each image is a function of (seed, index) by numpy's frozen RandomState: a sky over a ground, and on it a monster
whose body, color, ears, eyes and mouth vary.
"""

import colorsys

import numpy as np

DEMO_VERSION = 1  # part of the cache's key: raise it when the images change
SUPERSAMPLING = 4
EARS = ("none", "round", "horns", "antennae")
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
    sky_hue, ground_hue, hue = random.uniform(size=3)
    horizon = random.uniform(0.62, 0.8)
    x, y = random.uniform(0.44, 0.56), random.uniform(0.5, 0.58)
    width, height = random.uniform(0.24, 0.36), random.uniform(0.24, 0.36)  # half of the body's
    ears = EARS[random.randint(len(EARS))]
    eye = random.uniform(0.07, 0.1)
    look = random.uniform(-0.35, 0.35, 2) * eye
    smile = random.uniform(0.08, 0.16)
    has_teeth = random.uniform() < 0.4

    body, ear_color = _color(hue, 0.75, 0.9), _color(hue + 0.08, 0.6, 0.65)
    canvas.rectangle(0, 0, 1, horizon, _color(sky_hue, 0.25, 1.0))
    canvas.rectangle(0, horizon, 1, 1, _color(ground_hue, 0.35, 0.7))
    for sign in (-1, 1):
        ear_x, ear_y = x + sign * 0.65 * width, y - 0.75 * height
        if ears == "round":
            canvas.ellipse(ear_x, ear_y - 0.03, 0.1, 0.1, body)
            canvas.ellipse(ear_x, ear_y - 0.03, 0.055, 0.055, ear_color)
        elif ears == "horns":
            tip = (ear_x + sign * 0.05, ear_y - 0.17)
            canvas.polygon(ear_x - 0.1, ear_y + 0.05, ear_x + 0.1, ear_y + 0.05, *tip, color=ear_color)
        elif ears == "antennae":
            tip = (ear_x + sign * 0.02, ear_y - 0.16)
            canvas.line(x + sign * 0.4 * width, ear_y + 0.05, *tip, color=ear_color, width=0.04)
            canvas.ellipse(*tip, 0.06, 0.06, body)
    canvas.ellipse(x, y, width, height, body)
    canvas.ellipse(x, y + 0.55 * height, 0.6 * width, 0.4 * height, _color(hue, 0.3, 1.0))  # the belly
    eye_y, mouth_y = y - 0.3 * height, y + 0.15 * height
    for eye_x in (x - 1.1 * eye, x + 1.1 * eye):
        canvas.ellipse(eye_x, eye_y, eye, eye, WHITE)
        canvas.ellipse(eye_x + look[0], eye_y + look[1], 0.5 * eye, 0.5 * eye, DARK)
    canvas.half_disk(x, mouth_y, smile, 0.75 * smile, DARK)
    if has_teeth:
        canvas.rectangle(x - 0.035, mouth_y, x + 0.035, mouth_y + 0.04, WHITE)


def _color(hue: float, saturation: float, value: float) -> Color:
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1, saturation, value))
