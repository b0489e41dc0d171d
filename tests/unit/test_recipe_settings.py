from __future__ import annotations

import pytest

from retrieval import RecipeConfig, recipe_of
from retrieval.errors import ConfigError


def test_settings_by_name_are_those_of_texts():
    by_name = recipe_of("fast", {"bits": 4, "scan_bits": 1, "reduce": "pca:64", "residual": False})
    assert by_name == recipe_of("fast", ["bits=4", "scan_bits=1", "reduce=pca:64", "residual=false"])
    assert recipe_of(None, {"bits": 2}, by_name) == recipe_of(None, ["bits=2"], by_name)
    assert recipe_of(None, {}) is recipe_of(None, []) is None
    assert recipe_of("exact", {}) == RecipeConfig()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"what": 1}, "no setting 'what'"),
        ({"bits=4": 1}, "no setting 'bits=4'"),
        ({"bits": 3}, "bits=3"),
        ({"bits": "4"}, "bits='4'"),
        ({"m": 8}, "m means nothing with codec=bits"),
        ({"precision": "int8"}, "not the recipe's"),
    ],
)
def test_refused(settings, told):
    with pytest.raises(ConfigError, match=told):
        recipe_of("fast", settings)
