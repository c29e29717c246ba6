"""Language models: what a call says, what a template allows, and the model that the server drives."""
