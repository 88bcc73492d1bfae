"""The generator as serialized StableHLO, parameters inside: jax and flatbuffers can call it, without this package.

exported = jax.export.deserialize(open("g.stablehlo", "rb").read())
images = exported.call(z)  # float32 [N, nz] -> float32 [N, H, W, C], nominally in [-1, 1]
"""

import jax

from fastgan_jax.errors import UserError
from fastgan_jax.export.forward import example_inputs, fixed_noise, image_function
from fastgan_jax.inference.sampler import Sampler

PLATFORMS = ("cpu", "cuda", "tpu")


def stablehlo_bytes(
    sampler: Sampler, *, batch: int | None = None, style_mix: bool = False, noise_seed: int = 0
) -> bytes:
    """The generator as `jax.export` serializes it, for any of `PLATFORMS`, in the precision it was trained in.

    The call's arguments are z or (content, style), and int32 labels [N] for a conditional generator. Those of this
    function are as for `onnx.onnx_bytes`.

    Raises:
        UserError: if the package flatbuffers is missing, or style mixing is requested of a generator without
            excitation.
    """
    try:
        import flatbuffers  # noqa: F401 (jax serializes with it)
    except ImportError:
        raise UserError("--format stablehlo needs the package flatbuffers: pip install 'fastgan_jax[onnx]'") from None
    from jax import export

    inputs = example_inputs(sampler, style_mix, 1).values()
    (size,) = (batch,) if batch else export.symbolic_shape("N")
    shapes = [jax.ShapeDtypeStruct((size, *array.shape[1:]), array.dtype) for array in inputs]
    noise = fixed_noise(sampler.generator, noise_seed)
    function = image_function(sampler.generator, sampler.variables, noise, style_mix)
    return bytes(export.export(jax.jit(function), platforms=PLATFORMS)(*shapes).serialize())
