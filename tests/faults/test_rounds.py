"""A few faults of each kind; `python -m tests.faults` makes all of them, as often as one likes."""

import os
import signal

import pytest

from faults.program import Reference
from faults.rounds import damaged, killed, limited_files, one_round, signal_in, stale_share_when_resumed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reference(tmp_path_factory, process_environment):
    with pytest.MonkeyPatch.context() as patch:
        for name in process_environment.keys() - os.environ.keys():
            patch.setenv(name, process_environment[name])
        yield Reference(tmp_path_factory.mktemp("faults"))


def signaled_while_the_last_checkpoint_is_written(reference, run, draw, outcome):
    signal_in("writing the last checkpoint", signal.SIGHUP, reference, run, outcome)


@pytest.mark.parametrize(
    "fault",
    [killed, signaled_while_the_last_checkpoint_is_written, damaged, limited_files, stale_share_when_resumed],
    ids=lambda fault: fault.__name__,
)
def test_nothing_is_lost(reference, fault):
    outcome = one_round(fault, reference, reference.folder, 0)
    assert not outcome.problems, outcome.name
