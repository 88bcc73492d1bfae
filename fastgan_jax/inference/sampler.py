"""From a trained generator to images: latents, noise, sampling, interpolation and style mixing.

An image depends on the generator's variables and its latent alone: batch norm uses stored statistics, and the noise
maps are drawn from a key that is a hash of the latent. So the image of (checkpoint, seed, index) is the same whatever
else is sampled with it.
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.inference.interpolation import interpolate_keyframes
from fastgan_jax.inference.latents import SMALLEST_TRUNCATION, draw_latent
from fastgan_jax.models.generator import LAST_EARLY_SIDE, SKIP_PAIRS, Generator
from fastgan_jax.utils.checks import check_at_least_one, check_seed, whole
from fastgan_jax.utils.images import OverBatches, to_uint8

CHUNK = 8  # images per device call: one program for every number of images, and the same rounding for each image

log = logging.getLogger(__name__)


class Sampler:
    """A generator with its variables, ready to make images."""

    def __init__(self, generator: Generator, variables: dict, *, z_dim: int, step: int = 0, config: Any = None):
        """Wraps `generator` with `variables` {"params", "batch_stats", "spectral"}."""
        self.generator = generator
        self.variables = variables
        self.resolution = generator.resolution  # side of the images in pixels
        self.z_dim = z_dim  # length of a latent
        self.step = step  # iterations of training behind the variables
        self.config = config  # of the run

    def __repr__(self) -> str:
        side, channels = self.resolution, self.generator.channels
        return f"<Sampler of {side}x{side}x{channels} images from latents [N, {self.z_dim}], iteration {self.step}>"

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: all but the compiled program, which another process makes for itself."""
        return {name: value for name, value in vars(self).items() if name != "_generate"}

    @property
    def variables(self) -> dict:
        """The generator's variables {"params", "batch_stats", "spectral"}; to change them, set others."""
        return self._variables

    @variables.setter
    def variables(self, variables: dict) -> None:
        self._variables = variables
        self.__dict__.pop("_generate", None)  # which holds them on each device

    @property
    def style_resolutions(self) -> tuple[int, ...]:
        """Sides of the maps that skip-layer excitation gates: what `style_mix` can take from the style."""
        return tuple(side for side in SKIP_PAIRS if side <= self.resolution and self.generator.skip_excitation)

    def latents(self, num: int, seed: int = 0, *, first: int = 0, truncation: float = 1.0) -> np.ndarray:
        """Latents of the indices first, ..., first + num - 1 of a seed from 0 to 2^32 - 1: float32 [num, z_dim].

        Row i depends on (seed, first + i) alone, and on no library's version or device. `truncation` is from 0.01 to 1,
        which is none; see `latents.draw_latent`.
        """
        if not SMALLEST_TRUNCATION <= truncation <= 1:
            raise UserError(f"truncation={truncation}: must be a number from {SMALLEST_TRUNCATION} to 1")
        num, seed, first = whole(num, "num"), check_seed(seed, "seed"), check_seed(first, "first")
        if num < 0:
            raise UserError(f"num={num}: must be at least 0")
        check_seed(first + max(num, 1) - 1, "the last index")
        rows = [draw_latent(seed, first + i, self.z_dim, truncation) for i in range(num)]
        return np.array(rows, np.float32).reshape(num, self.z_dim)

    def sample(
        self,
        num: int,
        seed: int = 0,
        *,
        first: int = 0,
        truncation: float = 1.0,
        labels: Sequence[int] | int | None = None,
    ) -> np.ndarray:
        """Images of the indices first, ..., first + num - 1 of a seed: uint8 [num, H, W, C].

        Arguments as for `latents`; `labels` as for `generate`, by default every class in turn (index modulo classes).
        """
        z = self.latents(num, seed, first=first, truncation=truncation)
        if labels is None and self.generator.num_classes:
            labels = [(int(first) + index) % self.generator.num_classes for index in range(len(z))]
        return self.generate(z, labels=labels)

    def sample_by_class(self, num: int, seed: int = 0) -> tuple[np.ndarray, int | None]:
        """About `num` images of a conditional generator, a class in each row: the latents of a row are those of all.

        Returns:
            uint8 [rows * columns, H, W, C], the first `num` classes if there are more, and the number of columns.
            Without classes: `sample`, and None.
        """
        if not self.generator.num_classes:
            return self.sample(num, seed), None
        check_at_least_one(num=num)
        rows = min(num, self.generator.num_classes)
        columns = num // rows
        z = np.tile(self.latents(columns, seed), (rows, 1))
        return self.generate(z, labels=np.repeat(np.arange(rows), columns)), columns

    def generate(
        self, z: np.ndarray, *, labels: Sequence[int] | int | None = None, noise_seed: int | None = None
    ) -> np.ndarray:
        """Images uint8 [N, H, W, C] of given latents [N, z_dim].

        Args:
            z: the latents.
            labels: class of each image, or one of all, for a conditional generator.
            noise_seed: None: each latent has noise of its own, always the same; a number: all images share one noise
                drawn from it, so that an interpolation does not flicker.

        Raises:
            UserError: if z is not finite, or its shape, the labels or `noise_seed` do not fit.
        """
        z = self._check_latents(z)
        labels = self.check_labels(labels, len(z))
        keys = noise_keys(z, noise_seed)
        return self._generate(z, keys, labels)

    def interpolate(
        self,
        keyframes: np.ndarray | None = None,
        frames: int = 30,
        *,
        closed: bool = True,
        spherical: bool = True,
        easing: str = "linear",
        labels: Sequence[int] | int | None = None,
        noise_seed: int = 0,
        stations: np.ndarray | None = None,
    ) -> np.ndarray:
        """Images from keyframe to keyframe, all with one noise, so that nothing but the latent changes.

        Args:
            keyframes: latents [N, z_dim].
            frames, closed, spherical, easing: see `interpolation.interpolate_keyframes`.
            labels: class of all images, or of each, for a conditional generator.
            noise_seed: of the noise.
            stations: the former name of `keyframes`.

        Returns:
            uint8 [N * frames, H, W, C] if closed, else [(N - 1) * frames + 1, H, W, C].

        Raises:
            UserError: if the latents, `frames`, `easing` or the class do not fit.
        """
        if stations is not None:
            log.warning("stations is the former name of keyframes")
        keyframes = self._check_latents(stations if keyframes is None else keyframes)
        path = interpolate_keyframes(keyframes, frames, closed=closed, spherical=spherical, easing=easing)
        return self.generate(path, labels=labels, noise_seed=noise_seed)

    def style_mix(
        self,
        content: np.ndarray,
        style: np.ndarray,
        resolutions: Iterable[int] | None = None,
        *,
        labels: Sequence[int] | int | None = None,
        noise_seed: int | None = None,
    ) -> np.ndarray:
        """Every content with every style (paper, section 4.3): the style's early maps excite the content's late ones.

        Where content and style are the same latent, the image is that latent's own.

        Args:
            content: latents [M, z_dim].
            style: latents [N, z_dim].
            resolutions: sides of the excited maps that take the style; None: all of `style_resolutions`. Those that
                only larger models have are left out, which the log says.
            labels: class of all images, or of each of the M * N row by row, for a conditional generator.
            noise_seed: as for `generate`; with None, maps have the noise of the latent that they come from.

        Returns:
            uint8 [M, N, H, W, C].

        Raises:
            UserError: if a resolution is no side of an excited map, none is left, or latents or labels do not fit.
        """
        content, style = self._check_latents(content), self._check_latents(style)
        if resolutions is None and not self.style_resolutions:
            raise UserError("this generator has no skip-layer excitation, through which style would enter")
        chosen = self.style_resolutions if resolutions is None else self.check_style_resolutions(resolutions)
        rows, columns = np.repeat(content, len(style), 0), np.tile(style, (len(content), 1))
        class_labels = self.check_labels(labels, len(rows))
        arrays = (rows, noise_keys(rows, noise_seed), columns, noise_keys(columns, noise_seed), class_labels)
        static = {"static": (self.generator, chosen), "fixed": (self.variables,)}
        mixed = OverBatches(_style_mix, CHUNK, **static)(*arrays)
        return mixed.reshape(len(content), len(style), *mixed.shape[1:])

    @cached_property
    def _generate(self) -> OverBatches:
        return OverBatches(_generate, CHUNK, static=(self.generator,), fixed=(self.variables,))

    def _check_latents(self, z: np.ndarray) -> np.ndarray:
        z = np.asarray(z, np.float32)
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise UserError(f"latents have shape {list(z.shape)}; this generator takes [N, {self.z_dim}]")
        if not np.isfinite(z).all():
            raise UserError("latents hold numbers that are not finite: give others")
        return z

    def check_style_resolutions(self, resolutions: Iterable[int]) -> tuple[int, ...]:
        """Those of these sides of excited maps that this generator has, ascending.

        Raises:
            UserError: for a side that no generator has, or if none is left. The log names those that are left out.
        """
        given, known = set(resolutions), set(self.style_resolutions)
        absent, here = sorted(given - known), ", ".join(map(str, sorted(known))) or "none"
        for side in absent:
            if side not in SKIP_PAIRS or not given & known:
                raise UserError(f"style resolution {side}: must be one of {here}")
            log.warning("style resolution %d is left out: only larger models have it, this one has %s", side, here)
        return tuple(sorted(given & known))

    def check_labels(self, labels: Sequence[int] | int | None, count: int) -> np.ndarray:
        """The class of each of `count` images, int32 [count]; zeros for an unconditional generator.

        `labels` are one class for each image, or one for all.

        Raises:
            UserError: if they do not fit.
        """
        classes = self.generator.num_classes
        if labels is None:
            if classes:
                raise UserError(f"this generator is conditional: pass {count} labels from 0 to {classes - 1}")
            return np.zeros(count, np.int32)
        if not classes:
            raise UserError("this generator is unconditional: leave labels out")
        labels = np.asarray(labels)
        if labels.ndim and labels.shape != (count,):
            problem = f"labels have shape {list(labels.shape)} for {count} image(s)"
            raise UserError(f"{problem}: pass one class for all, or one for each")
        for label in labels.ravel().tolist():
            if label not in range(classes):
                raise UserError(f"label {label!r}: must be a class, a whole number from 0 to {classes - 1}")
        return np.broadcast_to(labels, count).astype(np.int32)


def noise_keys(z: np.ndarray, noise_seed: int | None = None) -> np.ndarray:
    """Key data uint32 [N, 2] of the noise of latents float32 [N, nz]: a hash of each, or the same seed for all."""
    if noise_seed is not None:
        noise_seed = check_seed(noise_seed, "noise_seed")
        return np.tile(np.asarray([0, noise_seed], np.uint32), (len(z), 1))
    digests = [hashlib.blake2b(np.ascontiguousarray(row, "<f4").tobytes(), digest_size=8).digest() for row in z]
    return np.frombuffer(b"".join(digests), "<u4").astype(np.uint32).reshape(len(z), 2)


def draw_noise(generator: Generator, keys: jax.Array) -> tuple[jax.Array, ...]:
    """Noise maps of each image from its own key [N, 2]: [N, side, side, 1] for each site."""
    sides = generator.noise_sides

    def of_one(key_data: jax.Array) -> tuple[jax.Array, ...]:
        key = jax.random.wrap_key_data(key_data, impl="threefry2x32")
        return tuple(
            jax.random.normal(jax.random.fold_in(key, i), (side, side, 1), "float32") for i, side in enumerate(sides)
        )

    return jax.vmap(of_one)(keys)


@partial(jax.jit, static_argnums=0)
def _generate(generator: Generator, variables: dict, z: jax.Array, keys: jax.Array, labels: jax.Array) -> jax.Array:
    noise = draw_noise(generator, keys)
    return to_uint8(generator.apply(variables, z, noise, labels, train=False)[0])


@partial(jax.jit, static_argnums=(0, 1))
def _style_mix(
    generator: Generator,
    resolutions: tuple[int, ...],
    variables: dict,
    content: jax.Array,
    content_keys: jax.Array,
    style: jax.Array,
    style_keys: jax.Array,
    labels: jax.Array,
) -> jax.Array:
    def early(z: jax.Array, noise: tuple[jax.Array, ...]) -> dict[int, jax.Array]:
        return generator.apply(variables, z, noise, labels, train=False, method=Generator.early)

    noise = draw_noise(generator, content_keys)
    own = early(content, noise)
    other = early(style, draw_noise(generator, style_keys))
    exciting = own | {SKIP_PAIRS[side]: other[SKIP_PAIRS[side]] for side in resolutions}
    last = own[LAST_EARLY_SIDE]
    return to_uint8(generator.apply(variables, last, exciting, noise, train=False, method=Generator.late)[0])
