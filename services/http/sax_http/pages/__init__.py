"""Pages for people: a console and the description of the routes. Nothing is loaded from elsewhere."""
