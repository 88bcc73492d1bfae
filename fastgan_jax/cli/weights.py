"""Lists, downloads and imports the pretrained weights that losses and metrics use."""

import argparse
import sys

EXAMPLE = """examples:
  python tools/weights.py --list
  python tools/weights.py --fetch vgg16
  python tools/weights.py --import vgg16-397923af.pth vgg16

Weights are kept in $XDG_CACHE_HOME/fastgan_jax/weights (by default ~/.cache/fastgan_jax/weights)."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="names, sizes, licenses, addresses, and what is here")
    action.add_argument(
        "--fetch", metavar="NAME", help="download a published file and check its hash; one that is here stays"
    )
    action.add_argument(
        "--import", dest="file", nargs=2, metavar=("FILE", "NAME"), help="take a local .pth, .npz, .safetensors or .h5"
    )
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    """Does what was asked."""
    from fastgan_jax.pretrained import store
    from fastgan_jax.pretrained.registry import FILES

    if arguments.list:
        for entry in FILES.values():
            path = store.cached_path(entry.name)
            print(f"{entry.name}: {entry.content}")
            print(f"    {'present: ' + str(path) if path.exists() else 'not present'}")
            print(f"    for {entry.use}; license {entry.license}; {entry.megabytes:g} MB; sha256 {entry.sha256 or '-'}")
            print(f"    {', '.join(entry.addresses) or 'to be imported: no address is known'}")
        return
    if arguments.fetch and (path := store.cached_path(arguments.fetch)).exists():
        print(f"present: {path}")
        return
    print(store.fetch(arguments.fetch) if arguments.fetch else store.import_file(*arguments.file))


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    from fastgan_jax.cli.arguments import run_tool

    return run_tool(parse, run, argv)


if __name__ == "__main__":
    sys.exit(main())
