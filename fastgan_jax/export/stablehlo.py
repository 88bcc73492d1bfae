"""The generator as serialized StableHLO, parameters inside: jax alone can call it, without this package.

exported = jax.export.deserialize(open("g.stablehlo", "rb").read())
images = exported.call(z)  # float32 [N, nz] -> float32 [N, H, W, C], nominally in [-1, 1]
"""

import jax
import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.export.forward import check_style_mix, fixed_noise, image_function, input_names
from fastgan_jax.inference.sampler import Sampler

PLATFORMS = ("cpu", "cuda", "tpu")


def stablehlo_bytes(
    sampler: Sampler, *, batch: int | None = None, style_mix: bool = False, noise_seed: int = 0
) -> bytes:
    """The generator as `jax.export` serializes it, for any of `PLATFORMS`, in the precision it was trained in.

    Args:
        sampler: generator and variables.
        batch: number of images per call; None: any number.
        style_mix: the variant with two latents, content and style.
        noise_seed: of the fixed noise; as in `Sampler.generate`.

    Returns:
        The contents of the file; the arguments of the call are z or (content, style), and int32 labels [N] for a
        conditional generator.

    Raises:
        UserError: if the package flatbuffers is missing, or style mixing is requested of a generator without
            excitation.
    """
    try:
        import flatbuffers  # noqa: F401 (jax serializes with it)
    except ImportError:
        raise UserError("--format stablehlo needs the package flatbuffers: pip install 'fastgan_jax[onnx]'") from None
    from jax import export

    if style_mix:
        check_style_mix(sampler)
    (size,) = (batch,) if batch else export.symbolic_shape("N")
    shapes = [
        jax.ShapeDtypeStruct((size,), np.int32)
        if name == "labels"
        else jax.ShapeDtypeStruct((size, sampler.z_dim), np.float32)
        for name in input_names(sampler, style_mix)
    ]
    noise = fixed_noise(sampler.resolution, noise_seed)
    function = image_function(sampler.generator, sampler.variables, noise, style_mix)
    return bytes(export.export(jax.jit(function), platforms=PLATFORMS)(*shapes).serialize())
