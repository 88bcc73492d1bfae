"""The former place of `page.write_report`."""

from fastgan_jax.report.page import write_report

__all__ = ["write_report"]
