"""Lists, downloads and imports the pretrained weights that losses and metrics use.

They are kept in $XDG_CACHE_HOME/fastgan_jax/weights (by default ~/.cache/fastgan_jax/weights).
"""

import argparse

EXAMPLES = """examples:
  fastgan weights --list
  fastgan weights --fetch squeeze                          all files of a network
  fastgan weights --fetch vgg16
  fastgan weights --import vgg16-397923af.pth vgg16"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="names, sizes, licenses, addresses, and what is here")
    action.add_argument(
        "--fetch", metavar="NAME", help="download a file, or all of a network, and check hashes; what is here stays"
    )
    action.add_argument(
        "--import", dest="file", nargs=2, metavar=("FILE", "NAME"), help="take a local .pth, .npz, .safetensors or .h5"
    )


def run(arguments: argparse.Namespace) -> None:
    """Lists, downloads or imports."""
    from fastgan_jax.pretrained import store
    from fastgan_jax.pretrained.registry import FILES, NETWORKS

    if arguments.list:
        for entry in FILES.values():
            path = store.local_path(entry.name)
            print(f"{entry.name}: {entry.content}")
            print(f"    {f'present: {path}' if path else 'not present'}")
            print(f"    for {entry.use}; license {entry.license}; {entry.megabytes:g} MB; sha256 {entry.sha256 or '-'}")
            print(
                f"    {entry.address or entry.package_cure or f'to be imported, no address is known: {entry.filename}'}"
            )
    elif arguments.fetch:
        network = NETWORKS.get(arguments.fetch)
        if network and not network.files:
            print(f"{arguments.fetch} needs no file")
        for name in network.files if network else (arguments.fetch,):
            path = store.local_path(name)
            print(f"present: {path}" if path else store.fetch(name))
    else:
        print(store.import_file(*arguments.file))
