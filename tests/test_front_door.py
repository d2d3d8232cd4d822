"""What ``import rnfl`` offers, and what it costs."""

import subprocess
import sys

import pytest

import rnfl


@pytest.mark.parametrize("name", rnfl.__all__)
def test_every_name_leads_somewhere_and_says_what_it_is(name):
    value = getattr(rnfl, name)
    assert name in dir(rnfl)
    assert name == "__version__" or value.__doc__


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rnfl.nothing  # noqa: B018 - the access is what is tested


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, rnfl; assert not {'torch', 'timm', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
