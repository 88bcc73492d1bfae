"""The training loop: data, one compiled program, logging, samples, checkpoints, and how a run ends."""

import dataclasses
import json
import logging
import math
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np
from clu import parameter_overview

from fastgan_jax.build import build_image_discriminator, pretrained_from_config, spec_from_config
from fastgan_jax.data.dataset import ImageSet, check_tasks, load_image_set
from fastgan_jax.data.feed import feed, is_resident
from fastgan_jax.errors import UserError
from fastgan_jax.evaluation.diagnosis import diagnose, evaluations, ranking
from fastgan_jax.evaluation.evaluator import GivenUp, evaluator_from_config, in_words, load_networks
from fastgan_jax.gan.program import (
    FIRST_NONFINITE,
    GUARDED,
    TRAINING_CURE,
    Program,
    compile_program,
    iterations_per_call,
    make_program,
)
from fastgan_jax.gan.spec import Spec
from fastgan_jax.gan.state import TrainState, create_train_state
from fastgan_jax.gan.step import Metrics
from fastgan_jax.inference.reconstruction import reconstruct
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.inference.standing_statistics import STANDING_BATCHES, standing_statistics
from fastgan_jax.interop.initializing import InitialNetworks, initialize, read_source
from fastgan_jax.report.page import write_report
from fastgan_jax.runs import config as configuration
from fastgan_jax.runs.checkpoint import Checkpoints, can_be_sampled, newest_config
from fastgan_jax.runs.folder import RunFolder
from fastgan_jax.runs.logging import LOGGERS, MetricsWriter, read_metrics
from fastgan_jax.runs.signals import StopSignals
from fastgan_jax.utils.console import NotebookImage, Progress, announced, at_once, watched
from fastgan_jax.utils.devices import batch_mesh, memory_advice, own_copy, placed
from fastgan_jax.utils.files import write_json
from fastgan_jax.utils.grids import image_grid, save_png
from fastgan_jax.utils.hosts import agreed, check_same
from fastgan_jax.utils.images import evenly_spread

SHOWN = ("loss/d", "loss/g")  # in the progress line
NUM_RECONSTRUCTIONS = 8  # images in a grid of reconstructions
REALS_SIDE = 4096  # pixels, at most, of the grid of training images
MOST_ROLLBACKS = 3  # to the same checkpoint, with train.on_nonfinite=rollback
ROLLBACK_KEYS = 2**31  # keys folded into a run's: those of iterations lie below
READY_SECONDS = 0.005  # between looks whether the device is done
STANDING_SEED = 0  # of the latents behind the standing statistics

EVALUATION_CURE = "go on with --config.eval.every=None, and use fastgan evaluate afterwards"

log = logging.getLogger(__name__)


class Diverged(RuntimeError):
    """Training produced a number that is not finite."""

    def __init__(self, what: str, cure: str = ""):
        """`what`: the number and where it came up; `cure`: where to go on, and how."""
        super().__init__(f"{what}; {cure}" if cure else what)
        self.what, self.cure = what, cure


class Interrupted(RuntimeError):
    """A signal ended the run after its state was saved."""

    def __init__(self, message: str, signal_number: int):
        """`signal_number`: the signal that asked for the end."""
        super().__init__(message)
        self.signal_number = signal_number


def train_and_evaluate(config: Any, workdir: str) -> TrainState | None:
    """Trains as the configuration says, from the newest checkpoint in `workdir` if there is one.

    Args:
        config: a validated configuration, see configs/base.py.
        workdir: the run folder.

    Returns:
        The state after the last iteration; None if the run was already finished.

    Raises:
        UserError: for a run folder in use, a checkpoint that does not fit the configuration, bad data, and the like.
        Diverged: if a loss or a parameter is no longer finite, with train.on_nonfinite=rollback MOST_ROLLBACKS + 1
            times after the same checkpoint; the last good checkpoint stays.
        Interrupted: after SIGTERM, SIGHUP or Ctrl-C while it iterates, when the state is saved.
    """
    mesh = batch_mesh(config.train.batch_size // config.train.accumulate, config.train.devices)
    spec = dataclasses.replace(spec_from_config(config), mesh=mesh)
    for name in _loggers(config):  # before anything is written, since these may refuse
        LOGGERS[name].check()
    run, iterations = RunFolder(workdir), config.train.iterations
    source = None
    if config.train.init_from and run.latest_step() is None:
        source = read_source(config.train.init_from, config.train.init_step)
    best_metric = config.eval.best_metric
    with ExitStack() as opened:
        if jax.process_index() == 0:
            opened.enter_context(run.lock())
            run.set_former_aside()
        settings = configuration.flatten(configuration.to_dict(config)).items()
        check_same("the settings", json.dumps([pair for pair in settings if pair[0] not in configuration.PATHS]))
        saved = newest_config(run.checkpoints)
        if saved is not None:
            step = run.latest_step()
            last = run.checkpoints / str(step)
            configuration.check_resumable(saved, configuration.to_dict(config), begun=step > 0)
            of_0_2 = "discriminator" not in newest_config(run.checkpoints, upgraded=False).get("model", {})
            _warn_of_other_evaluation(saved, configuration.to_dict(config), of_0_2=of_0_2)
            if step >= iterations and watched("reading the last checkpoint", lambda: can_be_sampled(last)):
                more = " ".join(configuration.to_train_on(configuration.to_dict(config), step))
                log.info("finished: %s is at iteration %d of %d; %s continues it", run.path, step, iterations, more)
                return None
            _warn_of_other_rate(saved, configuration.to_dict(config), step)
        pretrained = pretrained_from_config(config)  # perhaps after a download
        if jax.process_index():
            run = opened.enter_context(run.of_other_process())
        checkpoints = Checkpoints(run.checkpoints, keep=config.train.keep, best_metric=best_metric)
        opened.enter_context(checkpoints)
        with memory_advice(TRAINING_CURE):
            training = _Training(config, spec, pretrained, run, checkpoints, source)
            return training.run_to_end() if training.step < iterations else training.save_anew()


class _Training:
    """One process's share of a run: what is set up once, and what is done at each event."""

    def __init__(
        self,
        config: Any,
        spec: Spec,
        pretrained: Any,
        run: RunFolder,
        checkpoints: Checkpoints,
        source: InitialNetworks | None = None,
    ):
        self.started: float | None = time.perf_counter()  # None once the first call is reported
        self.config, self.spec, self.run, self.checkpoints = config, spec, run, checkpoints
        judges = load_networks(config) if config.eval.every else None  # before the images are decoded
        key = jax.random.key(config.train.seed)
        self.state, self.step = watched("preparing the networks", lambda: create_train_state(key, spec)), 0
        if source is not None:
            self.state, lines = initialize(self.state, source, config.model, spec.frozen)
            log.info("%s", "\n".join(lines))
        shape = {name: config.model[name] for name in ("resolution", "channels", "num_classes")}
        self.data: ImageSet = load_image_set(config.data, **shape, run_dir=run.path)
        check_tasks(config.model, self.data)
        if config.model.num_classes > config.train.num_samples:
            counts = (config.train.num_samples, config.model.num_classes)
            log.info("grids show the first %d of %d classes: a larger train.num_samples shows more", *counts)
        write_json(run.data, self.data.record())
        if self.data.files.skipped or self.data.files.left_out:
            log.info("what became of each file: %s", run.data)
        self.resident = is_resident(self.data, config.data.resident)
        check_same("the images", self.data.fingerprint)
        self.pretrained = jax.device_put(pretrained) if spec.mesh is None else placed(pretrained, spec.mesh)
        self.evaluator = evaluator_from_config(config, judges, self.data) if judges else None
        # Bound to devices, as a restored state is: so that a resumed run finds the program that was compiled before.
        self.state = placed(self.state, spec.mesh)
        networks = (self.state.generator, self.state.discriminator)
        counts = (f"{parameter_overview.count_parameters(network.params):,}" for network in networks)
        log.info("%s parameters in the generator, %s in the discriminator", *counts)
        if checkpoints.latest_step() is not None:
            with announced(f"reading the checkpoint in {run.path}"):
                self.state, data, self.step = checkpoints.restore(self.state)
            log.info("resumed from iteration %d in %s", self.step, run.path)
            if data.get("fingerprint") not in (None, self.data.fingerprint):
                log.warning("the images are not those that %s was trained on so far", run.path)
        run.write_config(configuration.to_dict(config), device=jax.devices()[0].device_kind)
        save_png(run.reals, _grid_of_reals(self.data.images))
        self.last_good = self.last_logged = self.step
        self.rollbacks = 0  # to the checkpoint `last_good`
        self.sampler: Sampler | None = None  # the latest of `_sampler`
        self.shown = NotebookImage()
        # Copies, since storage that fails later ends a process that reads a memory map.
        self.to_reconstruct = tuple(np.array(x[:NUM_RECONSTRUCTIONS]) for x in (self.data.images, self.data.labels))

    def run_to_end(self) -> TrainState:
        """Iterates until `train.iterations`, a signal, or a number that is not finite."""
        config = self.config.train
        per_call = iterations_per_call(self.config, self.step, jax.default_backend())
        ahead = jax.default_backend() != "cpu"  # whether a call is handed over while the one before it runs
        with ExitStack() as opened:
            batches = self._open(opened, per_call)
            inputs = next(batches)
            meanwhile = [self._sample] if self.step == 0 else []
            compiling = [lambda: self._compile(per_call, inputs), *meanwhile]
            (program, needed, seconds), *_ = watched("compiling", lambda: at_once(*compiling))
            self._log_compiled(seconds, per_call, needed)
            counted = {"total": config.iterations, "initial": self.step, "images_per_step": config.batch_size}
            shown, advice = Progress(title="iteration", **counted), memory_advice(TRAINING_CURE, needed)
            with StopSignals() as signals, shown as progress, advice:
                if self.step == 0:
                    self._save()
                    watched("reading the first checkpoint back", lambda: self.checkpoints.verify(self.state))
                metrics: Metrics = {}
                while self.step < config.iterations and not (stop := agreed(signals.received)):
                    before = metrics
                    self.state, metrics = program(self.state, self.pretrained, *inputs)
                    self.step += per_call
                    try:
                        self._guard(before if ahead and self.started is None else metrics)
                        self._after_call(metrics, per_call, progress, signals)
                    except Diverged as error:
                        self._roll_back(error)
                        progress.go_back(self.step)
                        opened.close()
                        batches, metrics = self._open(opened, per_call), {}
                    if self.step < config.iterations:
                        inputs = self._next(batches)
                if self.last_good < self.step:
                    watched(f"saving iteration {self.step}", self._sampler)
                    self._save()
                self.checkpoints.wait()
        if self.step < config.iterations:
            raise Interrupted(
                f"stopped by {signal.Signals(stop).name}: iteration {self.step} of {config.iterations} is "
                f"saved in {self.run.path}; the same command resumes",
                stop,
            )
        log.info("finished: %d iterations, samples in %s", self.step, self.run.samples)
        try:
            if jax.process_index() == 0:
                log.info("report: %s", write_report(self.run.path))
        except UserError as error:  # a full disk does not make a finished run a failed one
            log.warning("no report: %s", error)
        return self.state

    def save_anew(self) -> TrainState:
        """Makes the last checkpoint of a finished run once more, if its state is intact and the rest of it is not."""
        if not can_be_sampled(self.checkpoints.directory / str(self.step)):
            self.checkpoints.set_aside([self.step])
            self._save()
            self.checkpoints.wait()
            log.info("iteration %d is saved anew in %s", self.step, self.checkpoints.directory)
        log.info("finished: %s is at iteration %d", self.run.path, self.step)
        return self.state

    def _open(self, opened: ExitStack, per_call: int) -> Iterator[tuple[jax.Array, ...]]:
        """Opens the log and the data from iteration `self.step` on; returns the inputs of each call of the program."""
        self.writer = opened.enter_context(MetricsWriter(self.run, self.step, _loggers(self.config)))
        return opened.enter_context(self._feed(per_call))

    def _next(self, batches: Iterator[tuple[jax.Array, ...]]) -> tuple[jax.Array, ...]:
        """The inputs of the next call; where reading them fails, the state is saved before a UserError says so."""
        try:
            return next(batches)
        except (OSError, MemoryError) as error:
            self._save_before_the_end()
            reason = getattr(error, "strerror", None) or str(error) or "there is no memory for them"
            problem = f"the images after iteration {self.step} cannot be read ({reason})"
            saved = f"iteration {self.last_good} is saved in {self.checkpoints.directory}"
            raise UserError(f"{problem}: {saved}, and the same command resumes") from None

    def _save_before_the_end(self) -> None:
        """Saves the state where an error ends the run; but not of several processes, since the others are not here."""
        if self.last_good < self.step and jax.process_count() == 1:
            self._save()

    def _after_call(self, metrics: Metrics, per_call: int, progress: Progress, signals: StopSignals) -> None:
        """What is due after a call of the program: a line of the log, samples, an evaluation, a checkpoint."""
        config = self.config.train
        if self.started is not None:
            seconds = time.perf_counter() - self.started
            log.info("first %d iteration(s) done %.1f s after the start", per_call, seconds)
            self.started = None
        intervals = (config.log_every, config.sample_every, config.checkpoint_every, self.config.eval.every)
        if any(self._is_due(every) for every in filter(None, intervals)):
            self._guard(metrics)
        try:
            if self._is_due(config.log_every):
                self._log(metrics, progress)
            progress.update(per_call)
            if self._is_due(config.sample_every):
                self._sample()
        except UserError:  # a file cannot be written, but perhaps a checkpoint can
            self._save_before_the_end()
            raise
        evaluated = None
        if self.evaluator and self._is_due(self.config.eval.every):
            evaluated = self._evaluate_unless_stopped(signals)
        if evaluated or self._is_due(config.checkpoint_every):
            self._save(evaluated)

    def _guard(self, metrics: Metrics) -> None:
        """Waits for a call of the program, and raises Diverged if its numbers are not finite."""
        _wait_for(metrics)
        if iteration := int(metrics.get(FIRST_NONFINITE, 0)):
            last = {name: float(metrics[name]) for name in GUARDED}
            named = [f"{name} is {value}" for name, value in last.items() if not math.isfinite(value)]
            raise self._diverged((named or ["a loss or gradient was infinite"])[0], (iteration - 1, iteration))

    def _roll_back(self, error: Diverged) -> None:
        """Goes back to the newest checkpoint, with another key for the random draws from there on.

        The key is that of the checkpoint with the number of rollbacks to it folded in, so that a run that is killed and
        resumed goes the same way.

        Raises:
            Diverged: `error`, if train.on_nonfinite does not ask for it, or it did not help MOST_ROLLBACKS times.
        """
        if self.config.train.on_nonfinite == "stop":
            raise error
        if self.rollbacks == MOST_ROLLBACKS:
            raise Diverged(f"{error.what}, after {self.rollbacks} rollbacks", error.cure)
        self.rollbacks += 1
        self.checkpoints.wait()
        self.state, _, self.step = self.checkpoints.restore(self.state)
        self.state = self.state.replace(rng=jax.random.fold_in(self.state.rng, ROLLBACK_KEYS + self.rollbacks))
        self.sampler, self.last_good, self.last_logged = None, self.step, self.step
        text = "%s; back to iteration %d, with new random draws (rollback %d of at most %d)"
        log.warning(text, error.what, self.step, self.rollbacks, MOST_ROLLBACKS)

    def _feed(self, per_call: int) -> AbstractContextManager[Iterator[tuple[jax.Array, ...]]]:
        """The inputs of each call of the program, from iteration `self.step` on."""
        train, data = self.config.train, self.config.data
        if not self.resident:
            count = len(self.data.images)
            log.info("the set of %d images streams from the host (data.resident=%s)", count, data.resident)
        order, facts = (train.seed, train.batch_size, per_call, self.step), bool(self.spec.discriminator.heads)
        return feed(self.data, self.resident, *order, mesh=self.spec.mesh, facts=facts)

    def _compile(self, per_call: int, inputs: tuple) -> tuple[Program, int, float]:
        """The compiled program, the bytes of device memory that it needs, and the seconds that it took."""
        options = {"unroll": jax.default_backend() == "cpu", "accumulate": self.config.train.accumulate}
        program = make_program(self.spec, iterations=per_call, resident=self.resident, **options)
        started = time.perf_counter()
        compiled, needed = compile_program(program, self.state, self.pretrained, *inputs, mesh=self.spec.mesh)
        return compiled, needed, time.perf_counter() - started

    def _log_compiled(self, seconds: float, per_call: int, needed: int) -> None:
        count, kind = 1 if self.spec.mesh is None else self.spec.mesh.size, jax.devices()[0].device_kind
        facts = (seconds, per_call, needed / 1e9, kind if count == 1 else f"each of {count} {kind}")
        log.info("compiled in %.1f s: %d iteration(s) per call, about %.2f GB of memory on %s", *facts)

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.train.iterations

    def _evaluate_unless_stopped(self, signals: StopSignals) -> dict[str, float] | None:
        """The numbers of `_evaluate`; None where a signal asks for the end, before or meanwhile.

        Where it fails, the state is saved first: the same command would come to the same end without it.
        """
        alone = jax.process_count() == 1  # several processes have to agree, and do so between iterations alone
        self.evaluator.given_up = lambda: alone and bool(signals.received)
        try:
            if not agreed(signals.received):
                with memory_advice(EVALUATION_CURE):
                    return self._evaluate()
        except GivenUp:
            pass
        except Exception:
            self._save_before_the_end()
            raise
        log.warning("iteration %d is not evaluated, since the run stops: fastgan evaluate does it later", self.step)
        return None

    def _evaluate(self) -> dict[str, float]:
        """Judges the averaged generator, and writes and returns the numbers."""
        started = time.perf_counter()
        log.info("iteration %d: evaluating %d samples ...", self.step, self.config.eval.num_samples)
        values = self.evaluator.evaluate(self._sampler())
        about = (self.evaluator.description, f"{time.perf_counter() - started:.0f} s")
        log.info("iteration %d: %s (%s)", self.step, in_words(values), "; ".join(filter(None, about)))
        self.writer.scalars(self.step, {f"eval/{name}": value for name, value in values.items()})
        history, mirrored = evaluations(read_metrics(self.run.metrics)), self.config.data.flip
        for line in diagnose(history, ranking(history, self.config.eval.best_metric), mirrored=mirrored):
            log.warning("%s", line)
        return values

    def _log(self, metrics: Metrics, progress: Progress) -> None:
        """Reads the metrics of the latest iteration, checks that they are finite, and writes them."""
        values = {name: float(value) for name, value in jax.device_get(metrics).items() if name != FIRST_NONFINITE}
        for name, value in values.items():
            if not math.isfinite(value):
                raise self._diverged(f"{name} is {value}", (self.last_logged, self.step))
        self.last_logged = self.step
        self.writer.scalars(self.step, values)
        progress.note(" ".join(f"{name} {values[name]:.3f}" for name in SHOWN))

    def _diverged(self, what: str, between: tuple[int, int]) -> Diverged:
        hint = ", or with train.on_nonfinite=rollback" if self.config.train.on_nonfinite == "stop" else ""
        good = f"the last good checkpoint is iteration {self.last_good} in {self.run.checkpoints}"
        what = f"{what} between iterations {between[0]} and {between[1]}"
        return Diverged(what, f"{good}: resume from it with a lower optim.learning_rate{hint}")

    def _sampler(self) -> Sampler:
        """The averaged generator with standing statistics, made once per iteration that needs it."""
        if self.sampler is None or self.sampler.step != self.step:
            generator, size, g = self.spec.generator, self.spec.latent_size, self.state.generator
            averaged = own_copy((self.state.ema_params, g.batch_stats, g.spectral))
            own = (*averaged, jax.random.key(STANDING_SEED))
            parts = self.config.train.accumulate  # micro-batches, as in training, for which memory suffices
            shape = {"batch_size": self.config.train.batch_size // parts, "batches": STANDING_BATCHES * parts}
            labels = self.data.labels if generator.num_classes else None
            variables = standing_statistics(generator, *own, latent_size=size, **shape, labels=labels)
            self.sampler = Sampler(generator, variables, z_dim=size, step=self.step)
        return self.sampler

    def _sample(self) -> None:
        """Writes the grid of the fixed latents and, once the discriminator has learned, that of reconstructions."""
        grid = image_grid(*self._sampler().sample_by_class(self.config.train.num_samples, self.config.train.seed))
        self._write_grid("samples", self.run.sample_path(self.step), grid)
        self.shown.show(grid)
        discriminator = build_image_discriminator(self.config.model, self.spec.discriminator.compute)
        if self.step and discriminator and discriminator.decoders:
            variables = own_copy(self.state.discriminator.variables)
            real, labels = self.to_reconstruct
            made = reconstruct(discriminator, self.spec.resize, variables, real, labels)
            columns = ("real", *discriminator.decoders)
            tiles = np.stack([np.asarray(made[name]) for name in columns], axis=1)
            grid = image_grid(tiles.reshape(-1, *tiles.shape[2:]), columns=len(columns))
            self._write_grid("reconstructions", self.run.reconstruction_path(self.step), grid)

    def _write_grid(self, tag: str, path: Path, grid: np.ndarray) -> None:
        save_png(path, grid, {"step": str(self.step)})
        self.writer.image(self.step, tag, grid)

    def _save(self, metrics: dict[str, float] | None = None) -> None:
        """Hands the state, with the metrics of an evaluation, to the checkpointer, which writes in the background."""
        if not _all_finite(self.state):
            raise self._diverged("a parameter is not finite", (self.last_good, self.step))
        epoch, position = divmod(self.step * self.config.train.batch_size, len(self.data.images))
        data = {"iteration": self.step, "epoch": epoch, "position": position, "fingerprint": self.data.fingerprint}
        config, sampler = configuration.to_dict(self.config), self._sampler().variables
        if jax.process_count() > 1:  # together they write only what all of them have
            sampler = placed(sampler, self.spec.mesh)
        self.checkpoints.save(self.step, state=self.state, sampler=sampler, config=config, data=data, metrics=metrics)
        self.last_good, self.rollbacks = self.step, 0


def _loggers(config: Any) -> tuple[str, ...]:
    """The loggers of this process: the first one has those of the run, the others none."""
    return configuration.split_names(config.train.loggers) if jax.process_index() == 0 else ()


def _warn_of_other_evaluation(saved: dict, current: dict, *, of_0_2: bool) -> None:
    """Tells that evaluations of a resumed run cannot be compared, if their settings were changed."""
    decisive = tuple(f"eval.{name}:" for name in ("features", "resize", "num_samples", "seed", "best_metric"))
    changed = [line for line in configuration.differences(saved, current) if line.startswith(decisive)]
    if of_0_2 and current["eval"]["features"] != "inception":
        changed.append("lengths of features: their own in the checkpoint, which is of version 0.2, all equal now")
    # A configuration saved before there were evaluations has no group "eval", and no scores.
    if changed and saved.get("eval", {}).get("every") and current["eval"]["every"]:
        log.warning(
            "scores so far and from here on cannot be compared, nor the best checkpoint be chosen by them (%s): judge "
            "kept checkpoints anew with fastgan evaluate --step all",
            "; ".join(changed),
        )


def _learning_rate(config: dict, step: int) -> float:
    """Adam's learning rate after an iteration of a run."""
    first, last = config["optim"]["learning_rate"], config["optim"]["final_learning_rate"]
    return first if last is None else first + (last - first) * min(1, step / config["train"]["iterations"])


def _warn_of_other_rate(saved: dict, current: dict, step: int) -> None:
    """Tells if a falling learning rate jumps up, as where a run is prolonged: it is stretched over all iterations."""
    before, now = _learning_rate(saved, step), _learning_rate(current, step)
    if current["optim"]["final_learning_rate"] is not None and now > 1.01 * before:
        kept = f"; {' '.join(configuration.constant_rate(before))} keeps it" if before else ""
        log.warning(
            "the learning rate falls until train.iterations=%d, so it goes from %.2g back up to %.2g here%s",
            current["train"]["iterations"],
            before,
            now,
            kept,
        )


def _grid_of_reals(images: np.ndarray) -> np.ndarray:
    """Up to 64 training images, evenly spread over the set uint8 [N, R, R, C], in a grid."""
    columns = min(8, max(1, REALS_SIDE // images.shape[1]))
    return image_grid(images[evenly_spread(len(images), columns**2)])


def _wait_for(metrics: Metrics) -> None:
    """Waits for the device in Python, where a second Ctrl-C is heard at once."""
    while not all(value.is_ready() for value in metrics.values()):
        time.sleep(READY_SECONDS)


def _all_finite(state: TrainState) -> bool:
    """Whether every parameter of both networks, and of the average, is finite."""
    params = own_copy((state.generator.params, state.discriminator.params, state.ema_params))
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
