"""Small tools that know no model. A recipe calls them; control flow stays in the recipe."""
