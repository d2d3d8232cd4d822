"""Five kills of each command that publishes, at random moments; the benchmark tries more."""

import signal

import pytest

from rnfl.storage.paths import project_root

KINDS = ("prepare", "evaluate", "predict", "export", "transfer", "notebook")


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root() / "benchmarks"))
        import killed_commands
        import killed_runs

        patch.setattr(killed_runs, "PRELOADED", killed_runs.PRELOADED + killed_commands.MODULES)
        # Who is started in the background of a shell would not hear it, nor would its children.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        made = killed_commands.commands(tmp_path_factory.mktemp("killed"), KINDS, pairs=False)
        yield killed_commands, made
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_kill_is_left(commands, kind):
    killed_commands, made = commands
    command = next(one for one in made if one.name == kind)
    found = killed_commands.tried(command, kills=5, pairs=0, seed=17)
    assert [one for one in found if not one.is_good] == []
