"""A contact sheet of a training set as the networks see it: fitted, augmented, and what is in it twice."""

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from fastgan_jax.data.accounting import printable
from fastgan_jax.data.dataset import ImageSet
from fastgan_jax.data.decode import FITS, Format, collected_warnings, decode_or_reason
from fastgan_jax.data.source import Source
from fastgan_jax.gan import augment
from fastgan_jax.gan.randomness import draw_step
from fastgan_jax.gan.spec import Spec
from fastgan_jax.gan.step import augment_real
from fastgan_jax.utils.grids import PADDING, WHITE, captioned, equally_high, image_grid
from fastgan_jax.utils.images import evenly_spread, rgb, to_uint8, to_unit

TILE = 128  # side of an image on the sheet, pixels
COLUMNS = 12
WIDTH = COLUMNS * (TILE + PADDING) - PADDING
MARGIN, GAP = 24, 10  # around the sheet and above a title; below a part, pixels
TEXT, TITLE = 17, 24  # sizes of letters, pixels
LETTER = 0.55  # width of a letter by its size, about
MOST_SHOWN = 8 * COLUMNS  # images of the set
MOST_DUPLICATES = 4 * COLUMNS
NAME_LETTERS = 18

Section = tuple[str, np.ndarray]  # a title and uint8 [H, W, 3]


def contact_sheet(heading: str, lines: Sequence[str], sections: Sequence[Section]) -> np.ndarray:
    """The sheet: a heading, lines of text, and sections one below the other; uint8 [H, W, 3]."""
    parts = [_text([heading], TITLE), _text(lines, TEXT)]
    for title, image in sections:
        above = np.full((MARGIN, WIDTH, 3), WHITE, np.uint8)
        parts += [np.concatenate([above, _text([title], TITLE)]), image]
    wide = [np.pad(part, ((0, GAP), (0, WIDTH - part.shape[1]), (0, 0)), constant_values=WHITE) for part in parts]
    return np.pad(np.concatenate(wide), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=WHITE)


def set_section(images: ImageSet, fit: str) -> Section:
    """Up to MOST_SHOWN images, evenly spread over the set, as the networks get them."""
    rows, side = evenly_spread(len(images.images), MOST_SHOWN), images.images.shape[1]
    count = f"{len(rows)} of the {len(images.images)}" if len(rows) < len(images.images) else f"The {len(rows)}"
    return f"{count} images as the networks get them: {side}x{side}, data.fit={fit}", _grid(images.images[rows])


def fit_section(images: ImageSet, source: Source, target: Format) -> Section | None:
    """The least square images, each in all fits; None if all are square."""
    shapes = np.array([file.width / file.height for file in images.files.read])
    rows = [row for row in np.argsort(-np.abs(np.log(shapes)))[:COLUMNS] if shapes[row] != 1]
    if not rows:
        return None
    numbers = {name: index for index, name in enumerate(source.names)}
    formats = [dataclasses.replace(target, fit=fit) for fit in FITS]
    columns = []
    with collected_warnings() as thread:
        for name in (images.names[row] for row in rows):
            read = partial(source.read, numbers[name])
            decoded = [decode_or_reason(read, own, thread, name)[0] for own in formats]
            if not any(isinstance(one, str) for one in decoded):  # a reason, such as that memory is short now
                columns.append([one.pixels for one in decoded])
    if not columns:
        return None
    tiles = np.stack(columns, axis=1)
    return "The least square images by data.fit, a row each: " + ", ".join(FITS), _grid(
        tiles.reshape(-1, *tiles.shape[2:]), len(columns)
    )


def augmentation_sections(images: ImageSet, spec: Spec, key: Any) -> Iterator[Section]:
    """What the discriminator sees of some images by the whole policy, and by each augmentation alone."""
    import jax

    some = images.images[evenly_spread(len(images.images), COLUMNS)]
    real, keys = to_unit(np.asarray(some)), jax.random.split(key, 3)
    views = [to_uint8(augment_real(spec, real, draw_step(k, spec, len(some)))) for k in keys]
    flipped = ", mirrored at random" if spec.flip else ""
    share = f" for {spec.augment_probability:.0%} of the images" if spec.augment_probability < 1 else ""
    if spec.augment_target is not None:
        share = " for as many images as augment.target asks for"
    policy = f"augment.policy={spec.policy or '(none)'}{share}{flipped}"
    yield (
        f"What the discriminator sees of images that are augmented: the images, then three draws ({policy})",
        _grid(np.stack([some, *views]).reshape(-1, *some.shape[1:]), len(some)),
    )
    for part in augment.AUGMENTATIONS:
        alone = [to_uint8(augment.apply(real, augment.draw(k, part, len(some)), part)) for k in keys[:2]]
        where = "in augment.policy" if part in augment.parse_policy(spec.policy) else "not in augment.policy"
        yield f"Augmentation {part} alone ({where})", _grid(np.stack(alone).reshape(-1, *some.shape[1:]), len(some))


def duplicate_section(images: ImageSet, groups: Sequence[Sequence[int]]) -> Section | None:
    """Groups of images that are nearly the same, with the number of the group and the file's name; None without any."""
    if not groups:
        return None
    rows = [(number, row) for number, group in enumerate(groups, start=1) for row in group][:MOST_DUPLICATES]
    tiles = _tiles(images.images[[row for _, row in rows]])
    named = [
        captioned(tile, f"{number}: {_short(images.names[row])}")
        for tile, (number, row) in zip(tiles, rows, strict=True)
    ]
    more = f", the first {len(rows)} images" if sum(map(len, groups)) > len(rows) else ""
    return f"Nearly the same, by groups{more}", image_grid(equally_high(named), COLUMNS)


def _short(name: str) -> str:
    name = printable(PurePosixPath(name).name)
    return name if len(name) <= NAME_LETTERS else f"{name[: NAME_LETTERS - 8]}...{name[-6:]}"


def _tiles(images: np.ndarray) -> np.ndarray:
    """Images uint8 [N, R, R, C] as [N, TILE, TILE, 3]."""
    from PIL import Image

    way = Image.Resampling.NEAREST if images.shape[1] < TILE else Image.Resampling.LANCZOS
    return np.stack([np.asarray(Image.fromarray(image).resize((TILE, TILE), way)) for image in rgb(np.asarray(images))])


def _grid(images: np.ndarray, columns: int = COLUMNS) -> np.ndarray:
    return image_grid(_tiles(images), columns)


def _text(lines: Sequence[str], size: int) -> np.ndarray:
    """Lines of text, broken where they are too long: uint8 [H, WIDTH, 3]."""
    import textwrap

    from PIL import Image, ImageDraw, ImageFont

    letters = int(WIDTH / (size * LETTER))
    broken = [part for line in lines for part in textwrap.wrap(line, letters, subsequent_indent="    ")]
    height = round(size * 1.4)
    page = Image.new("RGB", (WIDTH, height * len(broken)), (WHITE,) * 3)
    for number, line in enumerate(broken):
        ImageDraw.Draw(page).text((0, number * height), line, fill=(0, 0, 0), font=ImageFont.load_default(size=size))
    return np.asarray(page)
