"""Each family's twin is made once a session."""

from __future__ import annotations

import pytest
import torch
from quantised_twins import quantise
from twins import RECIPES, make_twin

torch.set_num_threads(1)  # the twins are so small that a second thread costs more than it brings


@pytest.fixture(scope="session")
def twins(tmp_path_factory):
    """``twins(family)`` → Twin."""
    made = {}

    def get(family: str):
        if family not in made:
            made[family] = make_twin(family, tmp_path_factory.mktemp(family))
        return made[family]

    return get


@pytest.fixture(params=RECIPES)
def twin(request, twins):
    return twins(request.param)


@pytest.fixture(scope="session")
def quantised(twins, tmp_path_factory):
    """``quantised(family, mode)`` → Twin whose files transformers has quantised and saved."""
    made = {}

    def get(family: str, mode: str):
        if (family, mode) not in made:
            made[family, mode] = quantise(twins(family), mode, tmp_path_factory.mktemp(mode))
        return made[family, mode]

    return get
