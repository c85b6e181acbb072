"""What decides the vector that a text gets: recipes, their registry, and how they are found."""

from rader_plugins.recipes.instructions import BRIGHT_INSTRUCTIONS, bright_instruction
from rader_plugins.recipes.recipe import RECIPE_FILE, Recipe, Role
from rader_plugins.recipes.registry import RECIPES, get_recipe, recipe_names

__all__ = [
    "BRIGHT_INSTRUCTIONS",
    "RECIPES",
    "RECIPE_FILE",
    "Recipe",
    "Role",
    "bright_instruction",
    "get_recipe",
    "recipe_names",
]
