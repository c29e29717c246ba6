"""OpenAI-compatible routes: completions, chat completions and the list of models."""
