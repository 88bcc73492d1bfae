"""Publishes a trained model on the Hugging Face hub, with a model card; hf://USER/NAME then loads it.

Uploaded are the averaged generator of one checkpoint, the settings without paths of this machine, the numbers of
training, samples, and a card made of these and of the run's evaluations. Training images, and pages that show some
(report.html, reals.png, reconstructions, nearest.png), stay here. With --state the whole state of training goes too, so
that others can continue training.
"""

import argparse

from fastgan_jax.cli import options

EXAMPLES = """examples:
  hf auth login
  fastgan push runs/mine me/my-fastgan
  fastgan push runs/mine me/my-fastgan --step best --private
  fastgan sample --run hf://me/my-fastgan --out samples.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", type=options.path, metavar="RUN", help="run folder, or one checkpoint's folder")
    add("name", metavar="USER/NAME", help="repository on the hub, which is made if there is none")
    options.add_shared(parser, "--step")
    add("--private", action="store_true", help="make a new repository visible to you alone")
    add("--state", action="store_true", help="upload the state of training too, about five times the size")


def run(arguments: argparse.Namespace) -> None:
    """Uploads."""
    from fastgan_jax.report.card import published_files
    from fastgan_jax.runs import hub

    hub.check_upload(arguments.name)
    sampler = options.load_generator(arguments)
    files = published_files(arguments.run, sampler, arguments.name, state=arguments.state)
    message = f"iteration {sampler.step}, by fastgan push"
    print(hub.upload(arguments.name, files, message, private=arguments.private))
    print(f'fastgan_jax.load("hf://{arguments.name}")')
