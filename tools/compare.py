from fastgan_jax.cli.app import run_tool

run_tool("compare")
