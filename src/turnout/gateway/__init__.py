"""The HTTP service: OpenAI's chat completions in, the chosen expert's bytes out. ASGI lives only in this room."""
