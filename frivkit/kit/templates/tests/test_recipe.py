"""The recipe can be read, and its scale smoke can be planned."""

from frivkit.testing.conformance import check_recipe

from frivkit_mine.recipe import RECIPE


def test_recipe_conforms():
    check_recipe(RECIPE)
