"""A response cache for OpenAI-style chat completions."""
